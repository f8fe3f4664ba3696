"""Read joint targets out of the three usual command messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim2real_policy.errors import closest, ConfigError, MessageError

FLOAT64_MULTI_ARRAY = 'float64_multi_array'
JOINT_STATE = 'joint_state'
JOINT_TRAJECTORY = 'joint_trajectory'

DEFAULT_TOPICS = {
    FLOAT64_MULTI_ARRAY: 'joint_position_controller/commands',
    JOINT_STATE: 'joint_commands',
    JOINT_TRAJECTORY: 'joint_trajectory_controller/joint_trajectory',
}


def check_interface(name: str) -> str:
    """
    Return the name of a command interface.

    :param name: as given by the user.
    :raises ConfigError: if there is no such interface.
    """
    if name not in DEFAULT_TOPICS:
        raise ConfigError(f"command_interface is '{name}', but must be one of "
                          f'{list(DEFAULT_TOPICS)}{closest(name, DEFAULT_TOPICS)}')
    return name


def message_type(interface: str) -> Any:
    """
    Return the ROS message class of a command interface.

    :param interface: one of ``DEFAULT_TOPICS``.
    """
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory
    return {FLOAT64_MULTI_ARRAY: Float64MultiArray, JOINT_STATE: JointState,
            JOINT_TRAJECTORY: JointTrajectory}[interface]


def read_command(interface: str, message: Any,
                 order: Sequence[str]) -> tuple[Sequence[str], Sequence[float]]:
    """
    Return the joint names of a command and their targets [rad]; the numbers are not checked.

    Of a trajectory the one point counts, and it counts at once: the simulated robot follows a
    stream of targets and does not interpolate.

    :param interface: one of ``DEFAULT_TOPICS``.
    :param message: of the interface's type.
    :param order: the joints in the order that a Float64MultiArray is taken to have.
    :raises MessageError: if a trajectory does not have exactly one point.
    """
    if interface == FLOAT64_MULTI_ARRAY:
        return order, message.data
    if interface == JOINT_STATE:
        return message.name, message.position
    if len(message.points) != 1:
        raise MessageError(f'a trajectory of {len(message.points)} points; send one point per '
                           'message')
    return message.joint_names, message.points[0].positions
