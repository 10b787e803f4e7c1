"""Interrupts: heeded after short work that must not stop halfway, and soon in everything else."""

import signal
import threading

import pytest

from autotts_gym.interrupts import interrupts_deferred


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heeded_after_what_is_undisturbed(number):
    heeded = []
    before = signal.signal(number, lambda *_: heeded.append(done.copy()))
    done = []
    try:
        with interrupts_deferred():
            signal.raise_signal(number)
            done.append("this")
        assert heeded == [["this"]]
        signal.raise_signal(number)
        assert len(heeded) == 2, "the handler is back"
    finally:
        signal.signal(number, before)


def test_an_interrupt_is_raised_at_the_end_of_what_is_undisturbed_even_if_that_failed():
    def work():
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("the first thing that went wrong")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)


def test_a_signal_that_nobody_handles_stays_as_it_is():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupts_deferred():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_are_left_alone():
    found = []

    def work():
        with interrupts_deferred():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
