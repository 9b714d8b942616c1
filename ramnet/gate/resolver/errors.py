"""Why a name was not resolved."""

from ramnet.errors import RamnetError


class ResolutionError(RamnetError):
    """A name has no address that may be dialled; the text says why."""


class UpstreamError(Exception):
    """One exchange with one upstream came to nothing; never leaves the resolver."""
