"""``ramnet rules`` and its like, ended by Ctrl-C while they try what the kernel can do."""

import signal

import pytest

from ramnet.kernel.uninterrupted import uninterrupted


def test_an_interrupt_waits_for_the_end() -> None:
    """Without it a cgroup that was made to try a match stayed behind."""
    done = False
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done


def test_what_was_blocked_before_is_so_after() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with uninterrupted():
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
