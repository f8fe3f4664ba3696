"""A robot that stands still in its default pose: healthy messages, so that the policy runs."""

from __future__ import annotations

from collections.abc import Callable
import struct
from typing import Any

from nav_msgs.msg import Odometry
import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.bundle import Bundle
from sim2real_policy.contract import PolicyContract
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.offline.benchmark_processes import chosen_backend
from sim2real_policy.pipeline import PipelineSettings

QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RAMP_DURATION = 0.1  # s
# A computer that other work shares may pause the messages; no robot hangs on this one.
PATIENCE = 1.0  # s
_POSITION_LIMIT = 10.0  # rad; wider than any pose, so that the contract's own limits decide
_MAX_STEP = 0.5  # rad
_MAX_TILT = 1.0  # rad
_GRAVITY = 9.81  # m/s^2
_NANOSECONDS = 10**9
_STAMP = struct.Struct('<iI')
_STAMP_BEGIN = 4  # behind the CDR encapsulation
_STAMP_END = _STAMP_BEGIN + _STAMP.size


class StandingRobot:
    """Its messages; the joints are told in another order than the policy's, as on any robot."""

    def __init__(self, contract: PolicyContract) -> None:
        """
        Fill the messages.

        :param contract: names and pose of the joints.
        """
        joints = contract.joints
        zeros = [0.0] * len(joints.names)
        self.joint_state = JointState(
            name=list(reversed(joints.names)), position=list(reversed(joints.default_position)),
            velocity=zeros, effort=zeros)
        imu = Imu()
        imu.header.frame_id = 'imu_link'
        imu.orientation.w = 1.0
        imu.linear_acceleration.z = _GRAVITY
        self.others: dict[str, Any] = {'imu': imu}
        if contract.uses('base_lin_vel'):
            self.others['odometry'] = Odometry(child_frame_id='base_link')


def set_stamp(message: Any, nanoseconds: int) -> None:
    """
    Stamp a message.

    :param message: one with a header.
    :param nanoseconds: ROS time.
    """
    stamp = message.header.stamp
    stamp.sec, stamp.nanosec = divmod(nanoseconds, _NANOSECONDS)


def serialized(message: Any) -> Callable[[int], bytes]:
    """
    Return what makes the bytes of a message for a stamp [ns].

    :param message: one that begins with a header.
    """
    raw = serialize_message(message)
    begin, rest = raw[:_STAMP_BEGIN], raw[_STAMP_END:]
    return lambda ns: begin + _STAMP.pack(*divmod(ns, _NANOSECONDS)) + rest


def pipeline_settings(contract: PolicyContract) -> PipelineSettings:
    """
    Return the settings of the policy in this process, as wide as in :func:`node_parameters`.

    :param contract: the policy.
    """
    width = contract.action_width
    limits = JointLimits(np.full(width, -_POSITION_LIMIT), np.full(width, _POSITION_LIMIT),
                         np.full(width, _MAX_STEP), 0.1)
    monitor = MonitorSettings(joint_timeout=PATIENCE, imu_timeout=PATIENCE,
                              odometry_timeout=PATIENCE, max_tilt=_MAX_TILT, max_rejected=2)
    return PipelineSettings(monitor, limits, RAMP_DURATION, 0.5)


def command_order(contract: PolicyContract) -> list[str]:
    """
    Return the joints in the order of the command message; another one than the policy's.

    :param contract: the policy.
    """
    return list(reversed(contract.action_joints))


def node_parameters(bundle: Bundle, trigger: str) -> list[str]:
    """
    Return the ROS arguments of the policy node.

    :param bundle: its policy.
    :param trigger: ``timer`` or ``joint_states``.
    """
    order = ', '.join(command_order(bundle.contract))
    values = {
        'policy': bundle.folder.resolve(), 'backend': chosen_backend(), 'trigger': trigger,
        'ramp_duration': RAMP_DURATION,
        'joint_timeout': PATIENCE, 'imu_timeout': PATIENCE, 'odometry_timeout': PATIENCE,
        'watchdog_timeout': PATIENCE, 'max_tilt': _MAX_TILT,
        'command_joint_names': f'[{order}]', 'limits.position_lower': f'[{-_POSITION_LIMIT}]',
        'limits.position_upper': f'[{_POSITION_LIMIT}]', 'limits.max_step': f'[{_MAX_STEP}]',
        'topics.joint_states': 'joint_states', 'topics.imu': 'imu',
        'topics.odometry': 'odometry', 'topics.command': 'commands'}
    return [word for name, value in values.items() for word in ('-p', f'{name}:={value}')]
