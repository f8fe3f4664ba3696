"""The demo's course, and what counts as having followed it."""

from __future__ import annotations

import math

import pytest
from sim2real_policy.simulation.demo_plan import (
    complaints,
    DemoRecord,
    judge_phases,
    Phase,
    phase_at,
    PHASES,
    TOTAL_DURATION,
)


def record_of(*velocities: tuple[float, float, float]) -> DemoRecord:
    """Return a walk at 10 Hz that holds one velocity in each phase."""
    rows = [velocity for phase, velocity in zip(PHASES, velocities, strict=False)
            for _ in range(round(phase.duration * 10))]
    return DemoRecord(velocity=[((row + 0.5) / 10, *velocity, 1.0)
                                for row, velocity in enumerate(rows)])


EXACT = tuple(phase.command for phase in PHASES)


def test_the_course_is_that_of_the_demo() -> None:
    """Stand, forward 0.8, sideways 0.4, turn 0.8, stop: about 30 s."""
    assert [(phase.name, phase.command) for phase in PHASES] == [
        ('stand', (0.0, 0.0, 0.0)), ('forward', (0.8, 0.0, 0.0)), ('sideways', (0.0, 0.4, 0.0)),
        ('turn', (0.0, 0.0, 0.8)), ('stop', (0.0, 0.0, 0.0))]
    assert TOTAL_DURATION == pytest.approx(28.0)
    assert phase_at(0.0).name == 'stand'
    assert phase_at(PHASES[0].duration).name == 'forward'
    assert phase_at(1000.0).name == 'stop'


def test_a_robot_that_obeys_passes() -> None:
    """The exact velocities, no fault, no fall: no complaint."""
    record = record_of(*EXACT)
    results = judge_phases(record)
    assert all(result.followed for result in results)
    assert complaints(record, results) == []


def test_the_mean_leaves_out_the_beginning_of_a_phase() -> None:
    """The first 40 per cent, in which the robot changes its speed, do not count."""
    phases = (Phase('go', (1.0, 0.0, 0.0), 10.0),)
    record = DemoRecord(velocity=[(time, 0.0 if time < 4.0 else 1.0, 0.0, 0.0, 0.0)
                                  for time in map(float, range(10))])
    assert judge_phases(record, phases)[0].measured == pytest.approx((1.0, 0.0, 0.0))


@pytest.mark.parametrize(('index', 'measured', 'followed'), [
    (1, (0.66, 0.0, 0.0), True), (1, (0.64, 0.0, 0.0), False), (1, (0.96, 0.0, 0.0), False),
    (1, (0.8, 0.16, 0.0), False), (3, (0.0, 0.0, 0.61), True), (3, (0.0, 0.0, 0.59), False),
])
def test_tolerances(index: int, measured: tuple[float, float, float], followed: bool) -> None:
    """0.15 m/s and 0.2 rad/s, in either direction and in every component."""
    velocities = [*EXACT]
    velocities[index] = measured
    record = record_of(*velocities)
    results = judge_phases(record)
    assert results[index].followed is followed
    assert bool(complaints(record, results)) is not followed


def test_a_walk_that_ends_early_is_no_success() -> None:
    """Phases that were never reached are named, and have no velocity."""
    record = record_of(EXACT[0], EXACT[1])
    results = judge_phases(record)
    assert math.isnan(results[2].measured[0]) and not results[2].followed
    assert complaints(record, results) == [
        f"phase '{name}' was not reached" for name in ('sideways', 'turn', 'stop')]
    assert len(complaints(DemoRecord(), judge_phases(DemoRecord()))) == len(PHASES)


def test_faults_and_falls_are_complaints() -> None:
    """A robot that fell or stopped did not do what was asked, however well it walked."""
    record = record_of(*EXACT)
    record.faults.append('F303 tilted')
    record.falls = 2
    assert complaints(record, judge_phases(record)) == [
        'fault: F303 tilted', 'the robot fell 2 times']
