"""A safe command becomes the controller's message, joint by joint."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sim2real_policy.errors import ConfigError, JointError
from sim2real_policy.messages import COMMAND_INTERFACES, make_command_writer
from sim2real_policy.safety import _KEY, Phase, SafeCommand

POLICY = ('hip', 'thigh', 'calf')
MESSAGE = ('calf', 'hip', 'thigh')


def command(*position: float) -> SafeCommand:
    """Make a command as the safety module does."""
    return SafeCommand(_KEY, np.array(position), Phase.RUN)


def through_the_wire(message: object) -> object:
    """Serialize and back, as a receiver sees it."""
    return deserialize_message(serialize_message(message), type(message))


def test_float64_multi_array_is_in_the_order_of_the_controller() -> None:
    """Values stand in the configured order, and each write replaces them."""
    writer = make_command_writer('float64_multi_array', POLICY, MESSAGE, 0.02)
    for values in ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)):
        sent = through_the_wire(writer.write(command(*values), 0))
        assert list(sent.data) == [values[2], values[0], values[1]]


def test_joint_state_carries_names_positions_and_stamp() -> None:
    """Without an order of its own the message has the policy's."""
    writer = make_command_writer('joint_state', POLICY, (), 0.02)
    sent = through_the_wire(writer.write(command(1.0, 2.0, 3.0), 2_500_000_000))
    assert sent.name == list(POLICY)
    assert list(sent.position) == [1.0, 2.0, 3.0]
    assert (sent.header.stamp.sec, sent.header.stamp.nanosec) == (2, 500_000_000)
    assert len(sent.velocity) == len(sent.effort) == 0


def test_joint_trajectory_has_one_point_a_period_ahead() -> None:
    """A zero stamp starts the trajectory now, whatever the clocks say."""
    writer = make_command_writer('joint_trajectory', POLICY, MESSAGE, 0.02)
    sent = through_the_wire(writer.write(command(1.0, 2.0, 3.0), 2_500_000_000))
    assert sent.joint_names == list(MESSAGE)
    assert [list(point.positions) for point in sent.points] == [[3.0, 1.0, 2.0]]
    assert sent.points[0].time_from_start.nanosec == 20_000_000
    assert sent.header.stamp.sec == 0


@pytest.mark.parametrize('interface', COMMAND_INTERFACES)
def test_only_a_safe_command_is_written(interface: str) -> None:
    """Anything else, an array too, is refused, and the message keeps what it had."""
    writer = make_command_writer(interface, POLICY, MESSAGE, 0.02)
    before = serialize_message(writer.write(command(1.0, 2.0, 3.0), 0))
    with pytest.raises(TypeError, match='only a SafeCommand'):
        writer.write(np.array([9.0, 9.0, 9.0]), 0)  # type: ignore[arg-type]
    assert serialize_message(writer.write(command(1.0, 2.0, 3.0), 0)) == before


@pytest.mark.parametrize(('names', 'words'), [
    (('calf', 'hip'), 'lacks the joint'),
    (('calf', 'hip', 'thigh', 'hip'), 'more than once'),
    (('calf', 'hip', 'thihg'), "did you mean 'thigh'"),
    (('calf', 'hip', 'thigh', 'arm'), 'does not command'),
])
def test_other_joints_than_the_policys_are_refused(names: tuple[str, ...], words: str) -> None:
    """The order must hold exactly the policy's joints, each once."""
    with pytest.raises(JointError, match=words):
        make_command_writer('float64_multi_array', POLICY, names, 0.02)


def test_a_message_without_names_needs_an_order() -> None:
    """No order is guessed for a Float64MultiArray."""
    with pytest.raises(ConfigError, match='command_joint_names is empty'):
        make_command_writer('float64_multi_array', POLICY, (), 0.02)


def test_an_unknown_interface_is_refused() -> None:
    """The closest known one is named."""
    with pytest.raises(ConfigError, match="did you mean 'joint_state'"):
        make_command_writer('joint_states', POLICY, (), 0.02)
