"""The errors a person may see, each with the exit code of the contract.

Every one carries a whole sentence that names the file, line or value at fault;
``cli`` prints it and exits, so no traceback reaches a user.
"""

from typing import Final

NOT_LINUX: Final = (
    "this needs Linux; run ramnet inside the machine where dockerd runs "
    "(Docker Desktop's VM, WSL 2)"
)


class RamnetError(Exception):
    """Something that a person can mend; its text says what and where."""

    exit_code = 1


class ConfigError(RamnetError):
    """``ramnet.toml`` or the command line cannot be used as it stands."""

    exit_code = 2


class NamespaceAbsentError(ConfigError):
    """A scope's network namespace is not there yet, or no longer."""


class PolicyError(RamnetError):
    """A policy document was refused; what was in force stays in force."""


class NotRunningError(RamnetError):
    """The command needs the service and the service does not answer."""

    exit_code = 3


class KernelRefusedError(RamnetError):
    """The kernel said no, or the privilege for the call is missing."""

    exit_code = 4
