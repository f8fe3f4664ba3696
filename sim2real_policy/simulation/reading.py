"""What the simulated robot's sensors give at one moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

XYZ = 3
XYZW = 4


class Reading:
    """
    One reading of all sensors, in one buffer that is allocated once.

    ``joint_position`` [rad], ``joint_velocity`` [rad/s] and ``joint_effort`` [N m] have shape
    (joints,), in the robot's own order. ``orientation`` is the IMU in the world as a quaternion
    x, y, z, w; ``angular_velocity`` [rad/s] and ``linear_acceleration`` [m/s2, +g upwards at
    rest] are in the IMU's frame. ``stamp_ns`` is when it was measured.
    """

    def __init__(self, joint_count: int) -> None:
        """
        Allocate the buffer.

        :param joint_count: how many joints the robot has.
        """
        self.values: NDArray[np.float64] = np.zeros(3 * joint_count + XYZW + 2 * XYZ)
        self.stamp_ns = 0
        ends = np.cumsum([joint_count] * 3 + [XYZW, XYZ, XYZ])[:-1]
        (self.joint_position, self.joint_velocity, self.joint_effort, self.orientation,
         self.angular_velocity, self.linear_acceleration) = np.split(self.values, ends)

    def copy_from(self, other: Reading) -> None:
        """
        Take over the values and the stamp.

        :param other: a reading of the same robot.
        """
        self.values[:] = other.values
        self.stamp_ns = other.stamp_ns
