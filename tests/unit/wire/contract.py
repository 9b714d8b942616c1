"""What every reader of connections promises, checked over every beginning of some bytes."""

from collections.abc import Callable
from typing import TypeVar

from ramnet.wire.result import Malformed, NeedMore

R = TypeVar("R")


def check_beginnings(reader: Callable[[bytes], R], data: bytes) -> R:
    """Read every beginning of ``data``; return what the whole says.

    An answer other than NeedMore is final; NeedMore asks for more than is there, and with less
    than it asked for nothing but Malformed can come.
    """
    answers = [reader(data[:size]) for size in range(len(data) + 1)]
    for size, answer in enumerate(answers):
        if isinstance(answer, NeedMore):
            assert answer.total > size
            waiting = answers[size : answer.total]
            assert all(isinstance(later, NeedMore | Malformed) for later in waiting), (size, answer)
        else:
            assert all(later == answer for later in answers[size:]), (size, answer)
    assert reader(memoryview(data)) == answers[-1]  # type: ignore[arg-type]
    return answers[-1]
