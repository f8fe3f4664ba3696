"""Rule: each check fires with its code and its numbers, and stays silent on healthy data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math
from typing import Any

import numpy as np
import pytest
from sim2real_policy.contract import parse_contract, PolicyContract
from sim2real_policy.faults import Fault
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import InputMonitor, MonitorSettings
from sim2real_policy.state import Reception, RobotState

NOW = 10.0
BAD_SAMPLE = Fault('F114', 'velocity of joint knee is nan')
TIMEOUTS = {'joints': ('F101', 'joint_states', 0.0625), 'imu': ('F102', 'imu', 0.125),
            'odometry': ('F103', 'odometry', 0.25)}
# Where no odometry is needed there is a short way through the checks.
EACH_INPUT = pytest.mark.parametrize(('which', 'name'), [
    ('monitor', 'joints'), ('monitor', 'imu'), ('odometry_monitor', 'joints'),
    ('odometry_monitor', 'imu'), ('odometry_monitor', 'odometry')])


@pytest.fixture
def monitor(contract: PolicyContract, limits: JointLimits,
            monitor_settings: MonitorSettings) -> InputMonitor:
    """Give the checks of a policy that needs no odometry."""
    return InputMonitor(contract, limits, monitor_settings)


@pytest.fixture
def odometry_monitor(contract_data: dict[str, Any], limits: JointLimits,
                     monitor_settings: MonitorSettings) -> InputMonitor:
    """Give the checks of a policy that observes the velocity of its base."""
    contract_data['observation']['terms'].append({'name': 'v', 'function': 'base_lin_vel'})
    return InputMonitor(parse_contract(contract_data, 'it'), limits, monitor_settings)


def fault_of(monitor: InputMonitor, state: RobotState, now: float = NOW) -> Fault:
    """Give the fault that must be there."""
    fault = monitor.check(state, now)
    assert fault is not None
    return fault


def tilt(state: RobotState, degrees: float) -> None:
    """Lean the robot to its right."""
    angle = math.radians(degrees)
    state.gravity[:] = 0.0, -math.sin(angle), -math.cos(angle)


def receptions(state: RobotState) -> dict[str, Reception]:
    """Give the inputs by name."""
    return {'joints': state.joints, 'imu': state.imu, 'odometry': state.odometry}


def test_healthy_robot_shows_no_fault(
        monitor: InputMonitor, odometry_monitor: InputMonitor, state: RobotState) -> None:
    assert monitor.check(state, NOW) is None
    assert odometry_monitor.check(state, NOW) is None


@EACH_INPUT
def test_input_is_fresh_up_to_its_timeout_and_stale_above(
        request: pytest.FixtureRequest, state: RobotState, which: str, name: str) -> None:
    monitor: InputMonitor = request.getfixturevalue(which)
    code, topic, timeout = TIMEOUTS[name]
    receptions(state)[name].received_at = NOW - timeout
    assert monitor.check(state, NOW) is None
    receptions(state)[name].received_at = NOW - timeout - 1e-6
    fault = fault_of(monitor, state)
    assert fault.code == code
    assert fault.message.startswith(f'{topic} stale: ')


def test_stale_input_is_told_with_its_age_and_its_timeout(
        monitor: InputMonitor, state: RobotState) -> None:
    state.imu.received_at = NOW - 4.0
    assert str(fault_of(monitor, state)) == (
        'F102 imu stale: 4000 ms > 125 ms. Check the driver and the network')


@pytest.mark.parametrize('name', TIMEOUTS)
def test_input_that_never_came_is_told_apart_from_a_stale_one(
        odometry_monitor: InputMonitor, state: RobotState, name: str) -> None:
    code, topic, _ = TIMEOUTS[name]
    receptions(state)[name].forget()
    fault = fault_of(odometry_monitor, state)
    assert fault.code == code
    assert fault.message.startswith(f'no {topic} received yet; check that the driver')


def test_odometry_matters_only_where_the_policy_uses_it(
        monitor: InputMonitor, odometry_monitor: InputMonitor, state: RobotState) -> None:
    state.odometry.forget()
    assert monitor.check(state, NOW) is None
    assert fault_of(odometry_monitor, state).code == 'F103'
    for _ in range(9):
        state.odometry.reject(BAD_SAMPLE)
    assert monitor.check(state, NOW) is None


@EACH_INPUT
def test_fresh_input_survives_two_refused_samples_but_not_three(
        request: pytest.FixtureRequest, state: RobotState, which: str, name: str) -> None:
    monitor: InputMonitor = request.getfixturevalue(which)
    input_ = receptions(state)[name]
    for _ in range(2):
        input_.reject(BAD_SAMPLE)
        assert monitor.check(state, NOW) is None
    input_.reject(BAD_SAMPLE)
    assert monitor.check(state, NOW) == BAD_SAMPLE
    input_.accept(NOW, 0)
    assert monitor.check(state, NOW) is None


def test_no_refused_sample_is_survived_where_the_setting_is_zero(
        contract: PolicyContract, limits: JointLimits, monitor_settings: MonitorSettings,
        state: RobotState) -> None:
    monitor = InputMonitor(contract, limits, replace(monitor_settings, max_rejected=0))
    assert monitor.check(state, NOW) is None
    state.imu.reject(BAD_SAMPLE)
    assert monitor.check(state, NOW) == BAD_SAMPLE


@pytest.mark.parametrize('name', ['joints', 'imu'])
def test_stale_input_whose_samples_are_refused_tells_why_they_are(
        monitor: InputMonitor, state: RobotState, name: str) -> None:
    input_ = receptions(state)[name]
    input_.received_at = NOW - 1.0
    input_.reject(BAD_SAMPLE)
    assert monitor.check(state, NOW) == BAD_SAMPLE
    input_.forget()
    input_.reject(BAD_SAMPLE)
    assert monitor.check(state, NOW) == BAD_SAMPLE


def test_age_that_is_no_number_is_not_fresh(monitor: InputMonitor, state: RobotState) -> None:
    state.imu.received_at = math.nan
    assert fault_of(monitor, state).code == 'F102'


@pytest.mark.parametrize(('degrees', 'fires'), [
    (0.0, False), (59.0, False), (61.0, True), (90.0, True), (180.0, True), (-61.0, True),
    (-59.0, False)])
def test_tilt_fires_above_60_degrees_to_either_side(
        monitor: InputMonitor, state: RobotState, degrees: float, fires: bool) -> None:
    tilt(state, degrees)
    assert (monitor.check(state, NOW) is not None) is fires
    if fires:
        fault = fault_of(monitor, state)
        assert fault.code == 'F303'
        assert fault.message == (f'the base is tilted by {abs(degrees):.0f} deg, limit 60 deg. '
                                 'Put the robot upright')


def test_gravity_that_is_no_number_is_a_tilt(monitor: InputMonitor, state: RobotState) -> None:
    state.gravity[2] = math.nan
    assert fault_of(monitor, state).code == 'F303'


@pytest.mark.parametrize(('position', 'fires'), [
    (1.0, False), (1.0625, False), (1.0626, True), (-1.0625, False), (-1.0626, True),
    (math.nan, True), (math.inf, True)])
@pytest.mark.parametrize('joint', [0, 1, 2])
def test_joint_may_be_measured_outside_its_limits_by_the_tolerance(
        monitor: InputMonitor, state: RobotState, joint: int, position: float,
        fires: bool) -> None:
    state.joint_position[joint] = position
    assert (monitor.check(state, NOW) is not None) is fires
    if fires:
        name = ('hip', 'knee', 'ankle')[joint]
        fault = fault_of(monitor, state)
        assert fault.code == 'F301'
        assert fault.message.startswith(
            f'joint {name} measured at {position:.3f} rad, limits [-1.000, 1.000] with '
            '0.0625 rad tolerance')


def test_joint_farthest_outside_is_named(monitor: InputMonitor, state: RobotState) -> None:
    state.joint_position[:] = 1.25, -2.0, 1.5
    assert fault_of(monitor, state).message.startswith('joint knee measured at -2.000 rad')


def test_limits_are_in_the_order_of_the_actions_not_of_the_contract(
        contract: PolicyContract, monitor_settings: MonitorSettings, state: RobotState) -> None:
    limits = JointLimits(lower=np.array([-3.0, -2.0, -1.0]), upper=np.array([3.0, 2.0, 1.0]),
                         max_step=np.ones(3), tolerance=0.0)
    monitor = InputMonitor(contract, limits, monitor_settings)
    state.joint_position[:] = 1.0, 2.0, 3.0  # hip, knee, ankle: all just inside
    assert monitor.check(state, NOW) is None
    assert monitor.measured(state).tolist() == [3.0, 2.0, 1.0]
    state.joint_position[:] = 1.5, 2.0, 3.0
    assert fault_of(monitor, state).message.startswith(
        'joint hip measured at 1.500 rad, limits [-1.000, 1.000]')


def test_joint_that_is_only_observed_has_no_limits(
        contract_data: dict[str, Any], monitor_settings: MonitorSettings,
        state: RobotState) -> None:
    contract_data['actions']['terms'] = [
        {'name': 'legs', 'joints': ['knee'], 'scale': [1.0], 'offset': [0.0]}]
    limits = JointLimits(np.array([-1.0]), np.array([1.0]), np.ones(1), tolerance=0.0)
    monitor = InputMonitor(parse_contract(contract_data, 'it'), limits, monitor_settings)
    state.joint_position[:] = 50.0, 0.5, -50.0
    assert monitor.check(state, NOW) is None
    assert monitor.measured(state).tolist() == [0.5]


def test_what_explains_more_is_told_first(monitor: InputMonitor, state: RobotState) -> None:
    faults: list[Callable[[], Any]] = [
        lambda: state.joint_position.fill(9.0), lambda: tilt(state, 90.0),
        lambda: state.imu.forget(), lambda: state.joints.forget()]
    codes = []
    for break_it in faults:
        break_it()
        codes.append(fault_of(monitor, state).code)
    assert codes == ['F301', 'F303', 'F102', 'F101']
