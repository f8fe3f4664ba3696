"""What the policy knows of the robot: values with stamp, frame and unit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
import math

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.faults import Fault

NEVER = -math.inf
XYZ = 3
JOINT_FIELDS = ('position', 'velocity', 'effort')


class Reception:
    """
    How one input is doing.

    ``received_at`` is the steady-clock time [s] of the newest accepted sample, ``stamp_ns`` its
    own stamp; ``rejected`` counts the samples refused since then, ``reason`` says why the last
    of them was. A refused sample never makes an input look fresh.
    """

    __slots__ = ('reason', 'received_at', 'rejected', 'stamp_ns')

    def __init__(self) -> None:
        """Start as never received."""
        self.forget()

    def forget(self) -> None:
        """Go back to never received."""
        self.received_at = NEVER
        self.stamp_ns = 0
        self.rejected = 0
        self.reason: Fault | None = None

    def accept(self, received_at: float, stamp_ns: int) -> None:
        """
        Note a good sample.

        :param received_at: steady-clock time [s].
        :param stamp_ns: the message's stamp.
        """
        self.received_at = received_at
        self.stamp_ns = stamp_ns
        self.rejected = 0
        self.reason = None

    def reject(self, reason: Fault) -> None:
        """
        Note a refused sample.

        :param reason: why.
        """
        self.rejected += 1
        self.reason = reason


class StateLayout:
    """Where each quantity stands in :attr:`RobotState.values`, as slices."""

    def __init__(self, joints: int) -> None:
        """
        Lay out base quantities of three values each, then the joints' fields.

        :param joints: number of joints in the contract.
        """
        widths = {'gravity': XYZ, 'angular_velocity': XYZ, 'linear_velocity': XYZ,
                  **{f'joint_{name}': joints for name in JOINT_FIELDS}}
        ends = list(accumulate(widths.values()))
        places = {name: slice(end - width, end)
                  for (name, width), end in zip(widths.items(), ends, strict=True)}
        self.gravity = places['gravity']
        self.angular_velocity = places['angular_velocity']
        self.linear_velocity = places['linear_velocity']
        self.joint_position = places['joint_position']
        self.joint_velocity = places['joint_velocity']
        self.joint_effort = places['joint_effort']
        self.size = ends[-1]


class RobotState:
    """
    The newest accepted measurements; one buffer, owned by the thread that runs the policy.

    ``joint_position`` [rad], ``joint_velocity`` [rad/s] and ``joint_effort`` [N m] have shape
    (joints,) in the contract's order; they are the rows of ``joint_values``. ``gravity`` is a
    unit vector, ``angular_velocity`` [rad/s] and ``linear_velocity`` [m/s] belong to the base;
    all three are given in the base frame, shape (3,). All of them are views of ``values``, which
    :class:`StateLayout` describes.
    """

    __slots__ = ('angular_velocity', 'gravity', 'imu', 'joint_effort', 'joint_position',
                 'joint_values', 'joint_velocity', 'joints', 'linear_velocity', 'odometry',
                 'values')

    def __init__(self, joints: int) -> None:
        """
        Allocate the buffers.

        :param joints: number of joints in the contract.
        """
        layout = StateLayout(joints)
        self.values: NDArray[np.float64] = np.zeros(layout.size)
        self.gravity = self.values[layout.gravity]
        self.angular_velocity = self.values[layout.angular_velocity]
        self.linear_velocity = self.values[layout.linear_velocity]
        self.joint_position = self.values[layout.joint_position]
        self.joint_velocity = self.values[layout.joint_velocity]
        self.joint_effort = self.values[layout.joint_effort]
        self.joint_values = self.values[layout.joint_position.start:].reshape(
            len(JOINT_FIELDS), joints)
        self.joints = Reception()
        self.imu = Reception()
        self.odometry = Reception()

    def forget(self) -> None:
        """Mark every input as never received."""
        self.joints.forget()
        self.imu.forget()
        self.odometry.forget()


@dataclass(frozen=True)
class VelocityCommand:
    """What the operator asks for in the base frame: m/s forward and left, rad/s about z."""

    linear_x: float = 0.0
    linear_y: float = 0.0
    angular_z: float = 0.0
    received_at: float = NEVER


NO_COMMAND = VelocityCommand()
