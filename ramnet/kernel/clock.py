"""Whether the kernel's clock has been set by something that knows the time (adjtimex(2))."""

import ctypes
from typing import Final

_TIME_ERROR: Final = 5
"""The clock is not synchronised."""
_SIZE_OF_TIMEX: Final = 512
"""More than struct timex has on any architecture; all zero asks and sets nothing."""


def is_synchronised() -> bool:
    """False before NTP has set it; also False for ever where nothing tells the kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.adjtimex(ctypes.create_string_buffer(_SIZE_OF_TIMEX)) != _TIME_ERROR)
