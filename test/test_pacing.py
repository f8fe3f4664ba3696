"""Deadlines lie on a fixed grid; whole periods missed are skipped and counted, never made up."""

from __future__ import annotations

import threading
from typing import NoReturn

from sim2real_policy.simulation.pacing import Deadlines, PacedThread

MILLISECOND = 1_000_000


def test_deadlines_do_not_drift_with_the_time_of_asking() -> None:
    deadlines = Deadlines(5, start_ns=100)
    assert [deadlines.next(now) for now in (100, 106, 114)] == [105, 110, 115]
    assert deadlines.skipped == 0


def test_lateness_below_one_period_is_caught_up() -> None:
    deadlines = Deadlines(5, start_ns=100)
    assert deadlines.next(109) == 105
    assert deadlines.next(109) == 110
    assert deadlines.skipped == 0


def test_whole_periods_are_skipped_and_counted() -> None:
    deadlines = Deadlines(5, start_ns=100)
    assert deadlines.next(123) == 120
    assert deadlines.skipped == 3
    assert deadlines.next(123) == 125


def test_thread_calls_until_stopped() -> None:
    called = threading.Semaphore(0)
    thread = PacedThread(called.release, MILLISECOND, 'test')
    thread.start()
    assert all(called.acquire(timeout=10.0) for _ in range(3))
    thread.stop()
    while called.acquire(blocking=False):
        pass
    assert not called.acquire(timeout=0.02)
    assert thread.failure is None


def test_thread_keeps_the_exception_that_ended_it() -> None:
    ended = threading.Event()

    def fail() -> NoReturn:
        ended.set()
        raise ValueError('broken')

    thread = PacedThread(fail, MILLISECOND, 'test')
    thread.start()
    assert ended.wait(10.0)
    thread.stop()
    assert str(thread.failure) == 'broken'
