"""Statistics of the loop in numbers that a person can check."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from diagnostic_msgs.msg import DiagnosticStatus
from sim2real_policy.diagnostics import diagnostic_status, RateCounter, TICK_FIELDS, TickStatistics

WIDTH = len(TICK_FIELDS)


def test_percentiles_are_those_of_the_ticks() -> None:
    """Durations of 1 to 101 us: p50 is 51 us, p99 100 us, max 101 us, in every field."""
    statistics = TickStatistics()
    for microseconds in range(1, 102):
        statistics.record(0, (microseconds * 1000,) * WIDTH)
    summary = statistics.summary()
    assert set(summary) == set(TICK_FIELDS)
    assert summary['inference'] == pytest.approx({'p50': 51.0, 'p99': 100.0, 'max': 101.0})


def test_only_ticks_since_the_last_reading_count() -> None:
    """A summary since tick n does not see the ticks before it."""
    statistics = TickStatistics()
    statistics.record(0, (9_000_000,) * WIDTH)
    since = statistics.ticks
    assert statistics.summary(since) == {}
    statistics.record(0, (1000,) * WIDTH)
    assert statistics.summary(since)['tick']['max'] == pytest.approx(1.0)


def test_the_oldest_ticks_make_room() -> None:
    """More ticks than there are slots: the newest remain, and none is mixed up."""
    statistics = TickStatistics()
    for tick in range(10_000):
        statistics.record(0, (tick * 1000,) * WIDTH)
    assert statistics.ticks == 10_000
    assert statistics.summary()['tick']['max'] == pytest.approx(9999.0)
    assert statistics.summary()['tick']['p50'] == pytest.approx(10_000 - 4096 / 2, abs=1.0)


def test_rate_of_ticks() -> None:
    """Three ticks 20 ms apart are 50 Hz; one tick has no rate; forget starts anew."""
    statistics = TickStatistics()
    assert statistics.rate_hz() == 0.0
    for tick in range(3):
        statistics.record(tick * 20_000_000, (1,) * WIDTH)
    assert statistics.rate_hz() == pytest.approx(50.0)
    statistics.forget()
    assert statistics.ticks == 0
    statistics.record(0, (1,) * WIDTH)
    assert statistics.rate_hz() == 0.0


def test_rate_of_messages() -> None:
    """100 messages in 0.5 s are 200 Hz; the first reading has nothing to compare with."""
    counter = RateCounter()
    counter.count = 7
    assert counter.rate(10.0) == 0.0
    counter.count += 100
    assert counter.rate(10.5) == pytest.approx(200.0)
    assert counter.rate(11.0) == 0.0


def test_status_shows_floats_short_and_the_rest_as_it_is() -> None:
    """Six digits are enough for a person; booleans and text stay."""
    status = diagnostic_status(DiagnosticStatus.WARN, 'node: part', 'words', 'pup',
                               {'rate': 1.0 / 3.0, 'on': True, 'count': 12})
    assert [(item.key, item.value) for item in status.values] == [
        ('rate', '0.333333'), ('on', 'True'), ('count', '12')]
    assert (status.level, status.name, status.hardware_id) == (
        DiagnosticStatus.WARN, 'node: part', 'pup')
