"""What makes the package: the vendored libraries, the man page."""
