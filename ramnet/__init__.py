"""ramnet: decides which container registries a company's Docker may reach."""

__version__ = "0.1.0"
