"""Ticks come at multiples of the period; late ones are skipped and counted (pacing.py)."""

from __future__ import annotations

import pytest
from sim2real_policy.pacing import DeadlinePacer, sharpen_timers


class FakeTime:
    """A clock that moves when somebody sleeps or works; sleep wakes a little late."""

    def __init__(self) -> None:
        self.now = 100.0
        self.oversleep = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0.0
        self.now += seconds + self.oversleep


def test_deadlines_do_not_drift() -> None:
    """Work and late wake-ups do not move the deadlines that follow."""
    time = FakeTime()
    pacer = DeadlinePacer(0.02, time.clock, time.sleep)
    time.oversleep = 0.001
    for tick in range(1, 6):
        assert pacer.wait() == pytest.approx(100.0 + 0.02 * tick + 0.001)
        assert pacer.lateness == pytest.approx(0.001)
        time.now += 0.015
    assert pacer.missed == 0


def test_a_deadline_just_missed_is_met_late() -> None:
    """25 ms of work in a period of 20 ms: the tick comes 5 ms late, the next one in time."""
    time = FakeTime()
    pacer = DeadlinePacer(0.02, time.clock, time.sleep)
    pacer.wait()
    time.now += 0.025
    assert pacer.wait() == pytest.approx(100.045)
    assert pacer.lateness == pytest.approx(0.005)
    assert pacer.wait() == pytest.approx(100.06)
    assert pacer.missed == 0


def test_lost_deadlines_are_counted_not_made_up() -> None:
    """65 ms of work, from 100.02 to 100.085: 100.04 and 100.06 are lost, 100.08 is met late."""
    time = FakeTime()
    pacer = DeadlinePacer(0.02, time.clock, time.sleep)
    pacer.wait()
    time.now += 0.065
    assert pacer.wait() == pytest.approx(100.085)
    assert pacer.lateness == pytest.approx(0.005)
    assert pacer.missed == 2
    assert pacer.wait() == pytest.approx(100.10)
    assert pacer.missed == 2


def test_doze_wakes_before_the_deadline_and_leaves_it_alone() -> None:
    """Doze returns early; with less than its lead left it does not sleep at all."""
    time = FakeTime()
    pacer = DeadlinePacer(0.02, time.clock, time.sleep)
    assert pacer.doze(0.001)
    assert time.now == pytest.approx(100.019)
    assert pacer.wait() == pytest.approx(100.02)
    time.now += 0.0195
    assert not pacer.doze(0.001)
    assert time.now == pytest.approx(100.0395)


def test_restart_begins_a_new_series() -> None:
    """After a pause nothing is counted as missed."""
    time = FakeTime()
    pacer = DeadlinePacer(0.02, time.clock, time.sleep)
    time.now += 5.0
    pacer.restart()
    assert pacer.wait() == pytest.approx(105.02)
    assert pacer.missed == 0


def test_sharpen_timers_is_harmless() -> None:
    """It may be called anywhere, any number of times."""
    sharpen_timers()
    sharpen_timers()
