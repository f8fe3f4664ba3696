"""Fill the simulated robot's messages; each is allocated once and used again."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

from nav_msgs.msg import Odometry
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.sensor_model import SensorSettings
from sim2real_policy.simulation.simulated_robot import SimulatedRobot

NANOSECONDS = 1_000_000_000
DIAGONAL = (0, 4, 8)


def set_stamp(stamp: Any, nanoseconds: int) -> None:
    """
    Write a time into a ``builtin_interfaces/Time``.

    :param stamp: the message.
    :param nanoseconds: since the epoch, or since the start of the simulation.
    """
    stamp.sec, stamp.nanosec = divmod(nanoseconds, NANOSECONDS)


class JointStateMessage:
    """``sensor_msgs/JointState`` in the order in which the robot speaks."""

    def __init__(self, names: Sequence[str], order: Sequence[str]) -> None:
        """
        Allocate the message.

        :param names: the joints in the readings' order.
        :param order: the joints in the message's order.
        """
        self.message = JointState(name=list(order))
        self._take: NDArray[np.intp] = np.array([names.index(name) for name in order])
        self._fields = []
        for field in ('position', 'velocity', 'effort'):
            setattr(self.message, field, array.array('d', bytes(8 * len(order))))
            # Whether a message keeps the array or a copy of it differs between ROS versions.
            self._fields.append(np.frombuffer(getattr(self.message, field), dtype=np.float64))

    def fill(self, reading: Reading) -> JointState:
        """
        Fill the message.

        :param reading: the values and the stamp.
        :returns: the message; valid until the next call.
        """
        position, velocity, effort = self._fields
        reading.joint_position.take(self._take, out=position, mode='clip')
        reading.joint_velocity.take(self._take, out=velocity, mode='clip')
        reading.joint_effort.take(self._take, out=effort, mode='clip')
        set_stamp(self.message.header.stamp, reading.stamp_ns)
        return self.message


class ImuMessage:
    """
    ``sensor_msgs/Imu`` after REP 103 and REP 145.

    The covariances carry the variance of the noise where there is noise, and are all zero,
    which means unknown, where there is none.
    """

    def __init__(self, settings: SensorSettings) -> None:
        """
        Allocate the message.

        :param settings: of the noise.
        """
        self.message = Imu()
        self.message.header.frame_id = 'imu_link'
        for index in DIAGONAL:
            self.message.orientation_covariance[index] = settings.orientation ** 2
            self.message.angular_velocity_covariance[index] = settings.angular_velocity ** 2

    def fill(self, reading: Reading) -> Imu:
        """
        Fill the message.

        :param reading: the values and the stamp.
        :returns: the message; valid until the next call.
        """
        message = self.message
        _set_quaternion(message.orientation, reading.orientation)
        _set_vector(message.angular_velocity, reading.angular_velocity)
        _set_vector(message.linear_acceleration, reading.linear_acceleration)
        set_stamp(message.header.stamp, reading.stamp_ns)
        return message


class OdometryMessage:
    """``nav_msgs/Odometry`` with the truth: pose in ``odom``, twist in ``base_link``."""

    def __init__(self) -> None:
        """Allocate the message."""
        self.message = Odometry(child_frame_id='base_link')
        self.message.header.frame_id = 'odom'

    def fill(self, robot: SimulatedRobot, stamp_ns: int) -> Odometry:
        """
        Fill the message.

        :param robot: its truth is published.
        :param stamp_ns: the time of that truth [ns].
        :returns: the message; valid until the next call.
        """
        pose, twist = self.message.pose.pose, self.message.twist.twist
        _set_vector(pose.position, robot.base_position)
        _set_quaternion(pose.orientation, robot.base_orientation)
        _set_vector(twist.linear, robot.base_linear_velocity)
        _set_vector(twist.angular, robot.base_angular_velocity)
        set_stamp(self.message.header.stamp, stamp_ns)
        return self.message


def _set_vector(message: Any, values: NDArray[np.float64]) -> None:
    message.x, message.y, message.z = values.tolist()


def _set_quaternion(message: Any, values: NDArray[np.float64]) -> None:
    message.x, message.y, message.z, message.w = values.tolist()
