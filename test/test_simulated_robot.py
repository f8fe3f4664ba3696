"""The simulated robot stands, falls, is put back, and walks as the trained policy did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.errors import ConfigError, JointError, MessageError
from sim2real_policy.simulation.fall_detector import Posture
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.simulated_robot import SimulatedRobot

pytest.importorskip('mujoco')

REPOSITORY = Path(__file__).resolve().parents[1]
POLICIES = (REPOSITORY / 'test' / 'data' / 'pup_run' / 'policy.onnx',
            REPOSITORY.parent / 'shared' / 'pup' / 'run' / 'policy.onnx')
SECOND = 200
FOLDED = [0.75, 1.4, -2.65, -0.75, 1.4, -2.65] * 2

Policy = Callable[[Any], NDArray[np.float64]]
Change = Callable[[list[str], list[float]], tuple[list[str], list[float]]]


@pytest.fixture
def robot() -> SimulatedRobot:
    return SimulatedRobot()


def read(robot: SimulatedRobot) -> Reading:
    reading = Reading(robot.joint_count)
    robot.read(reading)
    return reading


def test_stands_on_four_feet_until_told_otherwise(robot: SimulatedRobot) -> None:
    robot.step(5 * SECOND)
    assert robot.foot_contact == [True] * 4
    assert robot.falls.posture is Posture.STANDING
    assert robot.base_position[2] == pytest.approx(0.30, abs=0.01)
    assert robot.tilt < 1.0
    np.testing.assert_allclose(read(robot).joint_position, robot.start_position, atol=0.05)


def test_sensors_at_rest(robot: SimulatedRobot) -> None:
    robot.step(SECOND)
    reading = read(robot)
    np.testing.assert_allclose(reading.linear_acceleration, [0.0, 0.0, 9.81], atol=0.15)
    np.testing.assert_allclose(reading.angular_velocity, 0.0, atol=0.01)
    np.testing.assert_allclose(reading.orientation, [0.0, 0.0, 0.0, 1.0], atol=0.01)
    np.testing.assert_allclose(reading.joint_velocity, 0.0, atol=0.05)


def test_lies_on_its_trunk_without_having_fallen() -> None:
    robot = SimulatedRobot('lie')
    robot.step(SECOND)
    assert robot.trunk_on_floor
    assert (robot.falls.posture, robot.falls.falls) == (Posture.LYING, 0)
    assert robot.base_position[2] == pytest.approx(0.05, abs=0.002)


def test_targets_are_followed_by_name_in_any_order(robot: SimulatedRobot) -> None:
    names = robot.joint_names[::-1]
    positions = robot.start_position[::-1].copy()
    positions[names.index('FL_thigh_joint')] += 0.3
    before = read(robot).joint_position.copy()
    robot.set_joint_targets(positions, names)
    robot.step(20)
    moved = read(robot).joint_position - before
    assert robot.joint_names[int(np.argmax(np.abs(moved)))] == 'FL_thigh_joint'
    assert moved[robot.joint_names.index('FL_thigh_joint')] > 0.1


@pytest.mark.parametrize(('change', 'error', 'words'), [
    (lambda names, values: (names, values[:-1]), JointError, '11 joint targets for 12 joints'),
    (lambda names, values: (names[:-1], values[:-1]), JointError, r"no target for \['RR_calf"),
    (lambda names, values: (['FL_hip', *names[1:]], values), JointError,
     "no joint 'FL_hip'.*did you mean 'FL_hip_joint'"),
    (lambda names, values: (names + names[:1], values + values[:1]), JointError, 'named twice'),
    (lambda names, values: (names, [float('nan'), *values[1:]]), MessageError,
     "'FL_hip_joint' is nan"),
    (lambda names, values: (names, [*values[:-1], float('-inf')]), MessageError,
     "'RR_calf_joint' is -inf"),
    (lambda names, values: (names, [200.0, *values[1:]]), MessageError, 'within 100 rad')])
def test_wrong_targets_are_refused_whole(
        robot: SimulatedRobot, change: Change, error: type[Exception], words: str) -> None:
    names, values = change(list(robot.joint_names), [0.4] * 12)
    with pytest.raises(error, match=words):
        robot.set_joint_targets(values, names)
    robot.step(SECOND)
    np.testing.assert_allclose(read(robot).joint_position, robot.start_position, atol=0.05)


def test_effort_stays_within_the_drive_limits(robot: SimulatedRobot) -> None:
    robot.set_joint_targets(robot.start_position + 50.0)
    robot.step(1)
    effort = read(robot).joint_effort
    np.testing.assert_allclose(effort, [24.0, 24.0, 36.0] * 4)


def test_falls_once_when_the_legs_fold_and_reset_puts_it_back(robot: SimulatedRobot) -> None:
    robot.set_joint_targets(FOLDED)
    assert [robot.step(1) for _ in range(2 * SECOND)].count(True) == 1
    assert robot.trunk_on_floor
    assert robot.falls.posture.value == 'fallen'
    robot.reset()
    assert robot.falls.posture.value == 'standing'
    robot.step(SECOND)
    assert (robot.falls.posture, robot.falls.falls) == (Posture.STANDING, 1)
    np.testing.assert_allclose(read(robot).joint_position, robot.start_position, atol=0.05)


def test_a_kick_topples_it(robot: SimulatedRobot) -> None:
    robot.push([0.0, 4.0, 0.0])
    assert any(robot.step(1) for _ in range(2 * SECOND))
    assert robot.falls.largest_tilt > 60.0


def test_base_velocity_is_in_the_frame_of_the_trunk(robot: SimulatedRobot) -> None:
    robot._data.qpos[3:7] = np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)
    robot._data.qvel[:3] = 0.0, 1.0, 0.0
    robot._observe()
    np.testing.assert_allclose(robot.base_linear_velocity, [1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(robot.base_orientation, [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])
    assert robot.tilt == pytest.approx(0.0, abs=1e-3)


def test_the_same_commands_give_the_same_motion() -> None:
    def end(robot: SimulatedRobot) -> NDArray[np.float64]:
        robot.set_joint_targets(robot.start_position + 0.1)
        robot.step(SECOND)
        return read(robot).values

    first = SimulatedRobot()
    once = end(first)
    first.reset()
    np.testing.assert_array_equal(end(first), once)


def test_a_shorter_timestep_stands_too() -> None:
    robot = SimulatedRobot(timestep=0.002)
    robot.step(500)
    assert robot.falls.posture is Posture.STANDING


def test_refuses_an_unknown_pose() -> None:
    with pytest.raises(ConfigError, match="'sit'"):
        SimulatedRobot('sit')


@pytest.fixture(scope='module')
def policy() -> Policy:
    onnxruntime = pytest.importorskip('onnxruntime')
    found = [path for path in POLICIES if path.exists()]
    if not found:
        pytest.skip(f'no trained policy at any of {[str(path) for path in POLICIES]}')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(found[0]), options)
    name = session.get_inputs()[0].name
    return lambda observation: session.run(None, {name: observation})[0][0]


def gravity_in_base(orientation: NDArray[np.float64]) -> list[float]:
    x, y, z, w = orientation
    return [2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0]


@pytest.mark.parametrize(('command', 'axis', 'reached'), [
    ((0.8, 0.0, 0.0), 0, 0.75), ((-0.6, 0.0, 0.0), 0, -0.53), ((0.0, 0.4, 0.0), 1, 0.33),
    ((0.0, 0.0, 0.8), 2, 0.74), ((0.0, 0.0, 0.0), 0, 0.0)])
def test_the_trained_policy_walks_as_it_was_seen_to(
        robot: SimulatedRobot, policy: Policy, command: tuple[float, ...], axis: int,
        reached: float) -> None:
    reading, default = Reading(robot.joint_count), robot.start_position
    action, velocities = np.zeros(12), []
    for _ in range(200):
        robot.read(reading)
        observation = np.concatenate([
            reading.angular_velocity, gravity_in_base(reading.orientation),
            reading.joint_position - default, reading.joint_velocity, action, command])
        action = policy(observation.astype(np.float32)[None])
        robot.set_joint_targets(default + 0.25 * action)
        robot.step(4)
        velocities.append([*robot.base_linear_velocity[:2], robot.base_angular_velocity[2]])
    mean = np.mean(velocities[100:], axis=0)
    assert mean[axis] == pytest.approx(reached, abs=0.03)
    assert robot.falls.posture is Posture.STANDING
    assert robot.falls.largest_tilt < 3.0
