"""Parameters: declared whole, strict in name, type, range and size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from rclpy.node import Node
from rclpy.parameter import Parameter
from sim2real_policy.contract import load_contract, PolicyContract
from sim2real_policy.errors import ConfigError, JointError
from sim2real_policy.parameters import (
    check_change,
    checked,
    declare_parameters,
    NodeParameters,
    pipeline_settings,
    read_parameters,
    SPECS,
)
from tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.ros
Make = Callable[..., Node]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a maker of nodes with given parameters, in a domain of their own."""
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=70)
    nodes = []

    def made(**given: Any) -> Node:
        node = Node('parameters', context=context,
                    automatically_declare_parameters_from_overrides=True,
                    parameter_overrides=[Parameter(name.replace('__', '.'), value=value)
                                         for name, value in given.items()])
        nodes.append(node)
        return node
    yield made
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(scope='module')
def contract(tmp_path_factory: pytest.TempPathFactory) -> PolicyContract:
    """Return a policy for hip, thigh and calf."""
    return load_contract(make_tiny_bundle(
        tmp_path_factory.mktemp('policy') / 'bundle') / 'contract.yaml')


@pytest.fixture
def parameters(make: Make) -> NodeParameters:
    """Return the defaults, with one limit for all joints."""
    node = make(limits__position_lower=[-1.0], limits__position_upper=[1.0])
    declare_parameters(node)
    return read_parameters(node)


def test_every_parameter_is_described_with_unit_and_range(make: Make) -> None:
    """ros2 param describe tells what each one is; numbers have a range."""
    node = make()
    declare_parameters(node)
    for name, spec in SPECS.items():
        descriptor = node.describe_parameter(name)
        assert descriptor.description == spec.description and len(spec.description) > 20
        if isinstance(spec.default, float):
            assert '[' in spec.description, f'{name} has no unit'
            assert descriptor.floating_point_range
        elif isinstance(spec.default, int) and not isinstance(spec.default, bool):
            assert descriptor.integer_range
    assert set(read_parameters(node).__dataclass_fields__) == {
        name.replace('.', '_') for name in SPECS}


def test_given_values_are_taken(make: Make) -> None:
    """Overrides win, an integer is good enough for a real number, one value makes a list."""
    node = make(ramp_duration=3, limits__max_step=[1, 2, 3], cmd_vel_stamped=True)
    declare_parameters(node)
    parameters = read_parameters(node)
    assert parameters.ramp_duration == 3.0 and isinstance(parameters.ramp_duration, float)
    assert parameters.limits_max_step == (1.0, 2.0, 3.0)
    assert parameters.cmd_vel_stamped is True
    assert parameters.command_joint_names == ()  # the default says: nothing


@pytest.mark.parametrize(('given', 'words'), [
    ({'ramp_durations': 1.0}, "did you mean 'ramp_duration'"),
    ({'limits__upper': [1.0]}, 'unknown parameter'),
    ({'ramp_duration': 'long'}, 'expected float'),
    ({'ramp_duration': True}, 'expected float'),
    ({'ramp_duration': math.nan}, 'expected a value in'),
    ({'ramp_duration': 0.0}, 'expected a value in'),
    ({'max_rejected': 2.5}, 'expected int'),
    ({'trigger': 'imu'}, "expected one of ['timer', 'joint_states']"),
    ({'limits__max_step': ['a']}, 'expected float'),
])
def test_wrong_values_are_refused_at_once(make: Make, given: dict[str, Any], words: str) -> None:
    """What was seen, what was expected, and the closest known name."""
    with pytest.raises(ConfigError) as caught:
        declare_parameters(make(**given))
    assert words in str(caught.value)


def test_use_sim_time_is_ros_own(make: Make) -> None:
    """It is not ours to refuse."""
    declare_parameters(make(use_sim_time=True))


def test_changes_wait_for_the_next_configure() -> None:
    """While configured nothing changes; else the new value is checked like a given one."""
    change = [Parameter('ramp_duration', value=1.5)]
    assert check_change(change, locked=False) == ''
    assert 'cleanup' in check_change(change, locked=True)
    assert 'expected a value in' in check_change([Parameter('max_tilt', value=9.0)], locked=False)
    assert check_change([Parameter('use_sim_time', value=True)], locked=True) == ''


def test_one_limit_serves_all_joints(parameters: NodeParameters,
                                     contract: PolicyContract) -> None:
    """Arrays of one entry are spread; timeouts of 0 become three periods."""
    settings = pipeline_settings(parameters, contract)
    assert settings.limits.lower.tolist() == [-1.0, -1.0, -1.0]
    assert settings.limits.max_step.tolist() == [0.5, 0.5, 0.5]
    assert settings.monitor.joint_timeout == pytest.approx(0.06)


def test_the_automatic_timeout_has_a_ceiling(parameters: NodeParameters,
                                             contract: PolicyContract) -> None:
    """A policy of 10 Hz does not get 300 ms of blindness, but 200."""
    slow = contract.model_copy(update={'control_period': 0.1})
    assert pipeline_settings(parameters, slow).monitor.imu_timeout == pytest.approx(0.2)


def test_limits_are_matched_by_name(parameters: NodeParameters,
                                    contract: PolicyContract) -> None:
    """The person's order is brought into the policy's: hip, thigh, calf."""
    chosen = replace(parameters, limits_joint_names=('calf', 'hip', 'thigh'),
                     limits_position_lower=(-3.0, -1.0, -2.0))
    assert pipeline_settings(chosen, contract).limits.lower.tolist() == [-1.0, -2.0, -3.0]


def test_the_stricter_limit_wins(parameters: NodeParameters, contract: PolicyContract) -> None:
    """Training's own joint range narrows the person's, and the other way round."""
    joints = contract.joints.model_copy(update={
        'position_limit': ((-0.5, 2.0), (-2.0, 0.5), (-2.0, 2.0))})
    known = contract.model_copy(update={'joints': joints})
    limits = pipeline_settings(parameters, known).limits
    assert limits.lower.tolist() == [-0.5, -1.0, -1.0]
    assert limits.upper.tolist() == [1.0, 0.5, 1.0]
    alone = replace(parameters, limits_position_lower=(), limits_position_upper=())
    assert pipeline_settings(alone, known).limits.upper.tolist() == [2.0, 0.5, 2.0]


@pytest.mark.parametrize(('change', 'error', 'words'), [
    ({'limits_position_upper': ()}, ConfigError, 'no position limits are known'),
    ({'limits_position_upper': (-2.0,)}, ConfigError, 'position_lower < position_upper'),
    ({'limits_max_step': (0.0,)}, ConfigError, 'max_step > 0'),
    ({'limits_max_step': (0.1, 0.2)}, ConfigError, 'one entry per name'),
    ({'limits_max_step': (0.1, 0.2, 0.3), 'limits_joint_names': ('hip', 'thigh', 'calff')},
     JointError, "did you mean 'calf'"),
    ({'limits_max_step': (0.1, 0.2), 'limits_joint_names': ('hip', 'thigh')},
     JointError, 'lacks the joint'),
    ({'limits_position_lower': (-np.inf,)}, ConfigError, 'must be finite'),
])
def test_limits_that_do_not_fit_are_refused(
        parameters: NodeParameters, contract: PolicyContract, change: dict[str, Any],
        error: type[Exception], words: str) -> None:
    """Missing, empty, crossed, of the wrong size or of other joints: a sentence each."""
    with pytest.raises(error) as caught:
        pipeline_settings(replace(parameters, **change), contract)
    assert words in str(caught.value)


@pytest.mark.parametrize('xyzw', [(0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0),
                                  (math.nan, 0.0, 0.0, 1.0)])
def test_the_orientation_of_the_imu_is_a_rotation(
        parameters: NodeParameters, contract: PolicyContract, xyzw: tuple[float, ...]) -> None:
    """Four numbers of norm 1, or a sentence."""
    with pytest.raises(ConfigError, match='expected a quaternion'):
        pipeline_settings(replace(parameters, imu_orientation_in_base=xyzw), contract)


def test_checked_returns_the_own_type_of_a_parameter() -> None:
    """A single number for a list becomes a list; text for a list of text too."""
    assert checked('limits.max_step', 1) == [1.0]
    assert checked('command_joint_names', ['a', 'b']) == ['a', 'b']
    assert checked('stop_duration', 1) == 1.0


def test_config_files_fit(make: Make) -> None:
    """Every file of config/ holds known parameters with good values."""
    yaml = pytest.importorskip('yaml')
    for path in sorted((Path(__file__).parents[1] / 'config').glob('*.yaml')):
        values = yaml.safe_load(path.read_text())['/**']['ros__parameters']
        flat = {}
        for name, value in values.items():
            nested = value.items() if isinstance(value, dict) else ()
            flat |= {f'{name}.{key}': item for key, item in nested} or {name: value}
        for name, value in flat.items():
            checked(name, value)
