"""Noise has the spread asked for, delay whole periods, loss its probability; all are seeded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.sensor_model import SensorModel, SensorSettings

JOINTS = 2
PERIOD = 0.005


def model(seed: int = 7, **settings: float) -> SensorModel:
    return SensorModel(SensorSettings(**settings), JOINTS, PERIOD, seed)


def reading(position: float = 0.0, stamp_ns: int = 0) -> Reading:
    truth = Reading(JOINTS)
    truth.joint_position[:] = position
    truth.orientation[:] = 0.0, 0.0, 0.0, 1.0
    truth.stamp_ns = stamp_ns
    return truth


def measure(sensors: SensorModel, truth: Reading) -> Reading:
    measured = sensors.measure(truth)
    assert measured is not None
    return measured


def measure_many(sensors: SensorModel, count: int = 4000) -> NDArray[np.float64]:
    return np.array([measure(sensors, reading()).values.copy() for _ in range(count)])


def test_perfect_sensors_tell_the_truth() -> None:
    truth = reading(position=0.5, stamp_ns=3)
    measured = measure(model(), truth)
    np.testing.assert_array_equal(measured.values, truth.values)
    assert measured.stamp_ns == 3


def test_noise_has_the_spread_asked_for_and_no_bias() -> None:
    values = measure_many(model(joint_position=0.01, joint_velocity=0.5, angular_velocity=0.1))
    spread, mean = values.std(axis=0), values.mean(axis=0)
    np.testing.assert_allclose(spread[:2], 0.01, rtol=0.05)
    np.testing.assert_allclose(spread[2:4], 0.5, rtol=0.05)
    np.testing.assert_allclose(spread[-6:-3], 0.1, rtol=0.05)
    np.testing.assert_array_equal(values[:, 4:6], 0.0)
    np.testing.assert_array_equal(values[:, -3:], 0.0)
    np.testing.assert_allclose(mean[2:4], 0.0, atol=0.05)


def test_orientation_noise_turns_by_small_angles_and_keeps_the_length() -> None:
    quaternions = measure_many(model(orientation=0.02))[:, 6:10]
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(2.0 * quaternions[:, :3].std(axis=0), 0.02, rtol=0.05)


def test_orientation_noise_acts_in_the_frame_of_the_sensor() -> None:
    turned = reading()
    turned.orientation[:] = 0.5
    a, b, c, d = measure(model(orientation=0.02), reading()).orientation
    np.testing.assert_allclose(
        measure(model(orientation=0.02), turned).orientation,
        [0.5 * (d + a - b + c), 0.5 * (d + a + b - c), 0.5 * (d - a + b + c),
         0.5 * (d - a - b - c)], atol=1e-15)


def test_the_truth_is_left_alone() -> None:
    truth = reading(position=0.5)
    before = truth.values.copy()
    model(joint_position=0.1, orientation=0.1).measure(truth)
    np.testing.assert_array_equal(truth.values, before)


def test_the_same_seed_gives_the_same_noise_and_another_seed_another() -> None:
    first, same, other = (measure_many(model(seed, joint_position=0.1), 5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first[:, :2] != other[:, :2]).all()


def test_delay_holds_readings_back_by_whole_periods_with_their_own_stamp() -> None:
    sensors = model(delay=0.01)
    got = []
    for tick in range(5):
        measured = sensors.measure(reading(position=tick, stamp_ns=tick))
        got.append(None if measured is None else
                   (measured.joint_position[0], measured.stamp_ns))
    assert got == [None, None, (0.0, 0), (1.0, 1), (2.0, 2)]


@pytest.mark.parametrize(('asked', 'given'), [(0.0, 0.0), (0.006, 0.005), (0.008, 0.010)])
def test_delay_is_rounded_to_whole_periods(asked: float, given: float) -> None:
    assert model(delay=asked).delay == pytest.approx(given)


def test_restart_forgets_what_was_on_its_way() -> None:
    sensors = model(delay=0.005)
    sensors.measure(reading(position=1.0))
    sensors.restart()
    assert sensors.measure(reading(position=2.0)) is None
    assert measure(sensors, reading(position=3.0)).joint_position[0] == 2.0


@pytest.mark.parametrize('probability', [0.0, 0.2, 1.0])
def test_loss_has_the_probability_asked_for(probability: float) -> None:
    sensors = model(loss=probability)
    share = sum(sensors.is_lost() for _ in range(4000)) / 4000
    assert share == pytest.approx(probability, abs=0.03 if 0.0 < probability < 1.0 else 0.0)


def test_losses_do_not_change_the_noise() -> None:
    quiet, lossy = model(joint_position=0.1), model(joint_position=0.1, loss=0.5)
    for _ in range(3):
        lossy.is_lost()
        np.testing.assert_array_equal(
            measure(quiet, reading()).values, measure(lossy, reading()).values)
