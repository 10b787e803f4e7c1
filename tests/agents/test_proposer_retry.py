"""Calls are repeated with back-off, by the server's word, within what may be paid and the time there is."""

import threading
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.explorer.proposers.base import ProposerError, Usage
from agents.explorer.proposers.endpoint import asked_wait
from agents.explorer.proposers.retry import CallError, RateLimit, Retry

PAID = Usage(1, 10, 0, 20)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 100.0
        self.waits = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def failing(*failures):
    """A call that fails with these, and then succeeds."""
    left = list(failures)

    def call(deadline):
        if left:
            raise left.pop(0)
        return "done"

    return call


def retry(clock, **options):
    return Retry(clock=clock, sleep=clock.sleep, **options)


def again(message="busy", **more):
    return CallError(message, again=True, **more)


def test_waits_double_with_jitter_and_are_the_same_for_the_same_seed():
    clocks = [Clock(), Clock(), Clock()]
    for clock, seed in zip(clocks, [1, 1, 2], strict=True):
        notices = []
        assert retry(clock).run(failing(*[again()] * 4), seed, notices.append) == ("done", Usage())
        assert len(notices) == 4
        assert "busy; again in" in notices[0]
        for attempt, wait in enumerate(clock.waits):
            assert 0.5 * 2**attempt <= wait <= 2**attempt
    assert clocks[0].waits == clocks[1].waits != clocks[2].waits


def test_the_server_may_ask_for_a_longer_wait():
    clock = Clock()
    retry(clock).run(failing(again(wait=17.0)), 0, lambda _: None)
    assert clock.waits == [17.0]


def test_a_wait_past_the_timeout_is_not_waited():
    clock = Clock()
    with pytest.raises(ProposerError, match="busy; the next call would be in 1000 s, past the timeout of 60 s"):
        retry(clock, timeout=60.0).run(failing(again(wait=1000.0)), 0, lambda _: None)
    assert clock.waits == []


def test_a_hopeless_failure_is_not_repeated():
    clock = Clock()
    with pytest.raises(ProposerError, match=r"^no such model$"):
        retry(clock).run(failing(CallError("no such model", again=False)), 0, lambda _: None)
    assert clock.waits == []


def test_it_ends_after_so_many_retries():
    clock = Clock()
    with pytest.raises(ProposerError, match=r"^busy \(after 3 calls\)$") as caught:
        retry(clock, retries=2).run(failing(*[again()] * 9), 0, lambda _: None)
    assert len(clock.waits) == 2
    assert caught.value.usage == Usage()


def test_calls_that_may_have_been_paid_are_repeated_only_so_often_and_all_counted():
    clock = Clock()
    calls = [again(usage=PAID), again(), again("cut", usage=PAID), again()]
    with pytest.raises(ProposerError, match=r"cut \(after 3 calls\); not repeated, as 2 were paid") as caught:
        retry(clock, paid_attempts=2).run(failing(*calls), 0, lambda _: None)
    assert caught.value.usage == Usage(2, 20, 0, 40)


def test_what_failed_calls_used_is_handed_back_with_the_reply():
    assert retry(Clock()).run(failing(again(usage=PAID)), 0, lambda _: None) == ("done", PAID)


def test_calls_are_spaced_over_threads():
    clock = Clock()
    waits = []
    rate = RateLimit(30, clock=clock, sleep=waits.append)
    threads = [threading.Thread(target=rate.wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [2.0, 4.0, 6.0]
    clock.now += 100
    rate.wait()
    assert len(waits) == 3


def test_retries_are_spaced_too():
    clock = Clock()
    rate = RateLimit(1, clock=clock, sleep=clock.sleep)
    retry(clock, rate=rate).run(failing(again()), 0, lambda _: None)
    assert sum(clock.waits) == pytest.approx(60.0)


def test_usages_add_up_and_a_cost_only_if_all_is_known():
    assert Usage() + PAID == PAID + Usage() == PAID
    assert PAID + Usage(1, 1, 1, 1, 0.5) == Usage(2, 11, 1, 21, None)
    assert Usage(1, usd=0.25) + Usage(2, usd=0.5) == Usage(3, usd=0.75)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m1.5s"}, 361.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "6m0s"}, None),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "1970-01-12T13:47:20Z",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "1970-01-12T13:47:00Z",
            },
            40.0,
        ),
    ],
)
def test_what_a_server_asks_is_read_from_its_headers(headers, wait):
    assert asked_wait(headers, now=1_000_000) == (None if wait is None else pytest.approx(wait))


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]), st.text(max_size=30)))
def test_no_header_breaks_the_reading(headers):
    wait = asked_wait({"x-ratelimit-remaining": "0", **headers}, now=0.0)
    assert wait is None or 0 <= wait < float("inf")
