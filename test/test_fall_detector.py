"""A fall is counted once: over 60 degrees or trunk on the floor, after having stood."""

from __future__ import annotations

import pytest
from sim2real_policy.simulation.fall_detector import FallDetector, Posture


def test_small_tilts_are_no_falls() -> None:
    detector = FallDetector(Posture.STANDING)
    assert not detector.update(59.9, False, 0.005)
    assert (detector.posture, detector.falls) == (Posture.STANDING, 0)
    assert detector.largest_tilt == 59.9


@pytest.mark.parametrize(('tilt', 'trunk_on_floor'), [(60.1, False), (0.0, True)])
def test_falls_once_and_stays_fallen(tilt: float, trunk_on_floor: bool) -> None:
    detector = FallDetector(Posture.STANDING)
    seen = [detector.update(tilt, trunk_on_floor, 0.005) for _ in range(3)]
    assert seen == [True, False, False]
    assert (detector.posture, detector.falls) == (Posture.FALLEN, 1)


def test_a_bouncing_trunk_is_one_fall() -> None:
    detector = FallDetector(Posture.STANDING)
    for touching in (True, False, True, False, True):
        detector.update(5.0, touching, 0.1)
    assert detector.falls == 1


def test_stands_again_after_0_2_s_upright() -> None:
    detector = FallDetector(Posture.STANDING)
    detector.update(70.0, False, 0.1)
    detector.update(29.0, False, 0.1)
    assert detector.posture.value == 'fallen'
    detector.update(29.0, False, 0.1)
    assert detector.posture.value == 'standing'
    assert detector.update(70.0, False, 0.1)
    assert detector.falls == 2


def test_a_robot_put_on_the_floor_has_not_fallen() -> None:
    detector = FallDetector(Posture.LYING)
    assert not detector.update(0.0, True, 1.0)
    assert (detector.posture, detector.falls) == (Posture.LYING, 0)


def test_putting_back_keeps_the_count_and_forgets_the_tilt() -> None:
    detector = FallDetector(Posture.STANDING)
    detector.update(90.0, True, 0.1)
    detector.put_back(Posture.STANDING)
    assert (detector.posture, detector.falls, detector.largest_tilt) == (Posture.STANDING, 1, 0.0)
