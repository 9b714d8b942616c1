"""Whether the kernel's clock has been set by something that knows the time (adjtimex(2))."""

import ctypes
from typing import Final

_TIME_ERROR: Final = 5
"""The clock is not synchronised."""
_SIZE_OF_TIMEX: Final = 512
"""More than struct timex has on any architecture; all zero asks and sets nothing."""


def is_synchronised() -> bool:
    """False before NTP has set it, where nothing tells the kernel, and where we may not ask."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_SIZE_OF_TIMEX))
    return bool(0 <= state < _TIME_ERROR)
