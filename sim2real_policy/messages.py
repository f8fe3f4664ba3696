"""A safe command -> the message that the robot's controller takes; conversions only."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Protocol

from builtin_interfaces.msg import Duration
import numpy as np
from sensor_msgs.msg import JointState
from sim2real_policy.errors import closest, ConfigError
from sim2real_policy.joints import exact_joint_indices
from sim2real_policy.safety import SafeCommand
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

COMMAND_INTERFACES = ('float64_multi_array', 'joint_state', 'joint_trajectory')
_NANOSECONDS = 10**9


class CommandWriter(Protocol):
    """Fills one message, over and over."""

    message_type: Any

    def write(self, command: SafeCommand, stamp_ns: int) -> Any:
        """
        Return the message for a command; it is the same object at each call.

        :param command: joint targets [rad] that passed every check.
        :param stamp_ns: ROS time [ns].
        """


class _PositionView:
    """Writes joint targets, in the order of a message, into the array that the message holds."""

    def __init__(self, policy_joints: Sequence[str], message_joints: Sequence[str]) -> None:
        self._indices = exact_joint_indices(policy_joints, message_joints, 'command_joint_names')
        self.zeros = array('d', bytes(len(message_joints) * array('d').itemsize))
        self._view = np.empty(0)

    def attach(self, values: array[float]) -> None:
        """Look at the array inside the message: whether it took ours or a copy differs."""
        self._view = np.frombuffer(values, dtype=np.float64)

    def fill(self, command: SafeCommand) -> None:
        if not isinstance(command, SafeCommand):
            raise TypeError(f'only a SafeCommand may be sent, not {type(command).__name__}')
        command.position.take(self._indices, out=self._view, mode='clip')


class Float64MultiArrayWriter:
    """std_msgs/Float64MultiArray for forward_command_controller: values alone, in its order."""

    message_type = Float64MultiArray

    def __init__(self, policy_joints: Sequence[str], message_joints: Sequence[str]) -> None:
        """
        Allocate the message.

        :param policy_joints: joints of the command.
        :param message_joints: the same joints in the order of the controller.
        """
        self._positions = _PositionView(policy_joints, message_joints)
        self._message = Float64MultiArray(data=self._positions.zeros)
        self._positions.attach(self._message.data)

    def write(self, command: SafeCommand, stamp_ns: int) -> Float64MultiArray:
        """See :meth:`CommandWriter.write`."""
        self._positions.fill(command)
        return self._message


class JointStateWriter:
    """sensor_msgs/JointState with names and positions, for drivers that take it as a command."""

    message_type = JointState

    def __init__(self, policy_joints: Sequence[str], message_joints: Sequence[str]) -> None:
        """
        Allocate the message.

        :param policy_joints: joints of the command.
        :param message_joints: the same joints in the order of the message.
        """
        self._positions = _PositionView(policy_joints, message_joints)
        self._message = JointState(name=list(message_joints), position=self._positions.zeros)
        self._positions.attach(self._message.position)

    def write(self, command: SafeCommand, stamp_ns: int) -> JointState:
        """See :meth:`CommandWriter.write`."""
        self._positions.fill(command)
        stamp = self._message.header.stamp
        stamp.sec, stamp.nanosec = divmod(stamp_ns, _NANOSECONDS)
        return self._message


class JointTrajectoryWriter:
    """
    trajectory_msgs/JointTrajectory of one point, reached after one control period.

    Its stamp stays zero, which means: start now; a clock that is off cannot delay it.
    """

    message_type = JointTrajectory

    def __init__(self, policy_joints: Sequence[str], message_joints: Sequence[str],
                 control_period: float) -> None:
        """
        Allocate the message.

        :param policy_joints: joints of the command.
        :param message_joints: the same joints in the order of the message.
        :param control_period: time to reach the point [s].
        """
        self._positions = _PositionView(policy_joints, message_joints)
        seconds, nanoseconds = divmod(round(control_period * _NANOSECONDS), _NANOSECONDS)
        point = JointTrajectoryPoint(
            positions=self._positions.zeros,
            time_from_start=Duration(sec=seconds, nanosec=nanoseconds))
        self._message = JointTrajectory(joint_names=list(message_joints), points=[point])
        self._positions.attach(self._message.points[0].positions)

    def write(self, command: SafeCommand, stamp_ns: int) -> JointTrajectory:
        """See :meth:`CommandWriter.write`."""
        self._positions.fill(command)
        return self._message


def make_command_writer(interface: str, policy_joints: Sequence[str],
                        message_joints: Sequence[str], control_period: float) -> CommandWriter:
    """
    Pick the message that the robot's controller takes.

    :param interface: one of :data:`COMMAND_INTERFACES`.
    :param policy_joints: joints of the command.
    :param message_joints: the same joints in the order of the message; for
        ``float64_multi_array`` it has to be given, for the others empty means the policy's.
    :param control_period: time between two commands [s].
    :raises ConfigError: if the interface is not known, or an order is missing.
    :raises JointError: if the two lists do not hold the same joints.
    """
    if interface not in COMMAND_INTERFACES:
        raise ConfigError(f"command_interface is '{interface}'"
                          f'{closest(interface, COMMAND_INTERFACES)}, expected one of '
                          f'{list(COMMAND_INTERFACES)}')
    if interface == 'float64_multi_array':
        if not message_joints:
            raise ConfigError(
                'command_joint_names is empty, but a Float64MultiArray carries no names: set it '
                "to the controller's own joint order (ros2 param get /CONTROLLER joints). "
                f'The policy commands {list(policy_joints)}')
        return Float64MultiArrayWriter(policy_joints, message_joints)
    order = message_joints or policy_joints
    if interface == 'joint_state':
        return JointStateWriter(policy_joints, order)
    return JointTrajectoryWriter(policy_joints, order, control_period)
