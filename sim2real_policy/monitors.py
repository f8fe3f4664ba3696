"""The checks on what the robot says about itself: a fault or nothing, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import PolicyContract
from sim2real_policy.faults import Fault
from sim2real_policy.joints import joint_indices
from sim2real_policy.limits import JointLimits
from sim2real_policy.rotations import tilt_of
from sim2real_policy.state import Reception, RobotState

MILLISECONDS = 1e3


@dataclass(frozen=True)
class MonitorSettings:
    """
    Thresholds of the checks.

    Timeouts are ages [s] of the newest accepted sample; ``max_tilt`` [rad] is the angle between
    the base's z axis and the vertical; ``max_rejected`` is how many refused samples in a row an
    input survives on its last good one.
    """

    joint_timeout: float
    imu_timeout: float
    odometry_timeout: float
    max_tilt: float
    max_rejected: int


class InputMonitor:
    """Tells whether the robot's state may be acted upon."""

    def __init__(self, contract: PolicyContract, limits: JointLimits,
                 settings: MonitorSettings) -> None:
        """
        Resolve which inputs the policy needs.

        :param contract: the policy.
        :param limits: bounds of the commanded joints.
        :param settings: the thresholds.
        """
        self._limits = limits
        self._settings = settings
        self._joints = contract.action_joints
        self._indices = joint_indices(contract.joints.names, self._joints, 'joints.names')
        self._cos_max_tilt = math.cos(settings.max_tilt)
        self._needs_odometry = contract.uses('base_lin_vel')
        everywhere = np.full((2, len(contract.joints.names)), np.inf)
        self._low, self._high = -everywhere[0], everywhere[1]
        self._low[self._indices] = limits.lower - limits.tolerance
        self._high[self._indices] = limits.upper + limits.tolerance
        self._inside = np.zeros(everywhere.shape, dtype=bool)
        self._above, self._below = self._inside

    def measured(self, state: RobotState) -> NDArray[np.float64]:
        """
        Return the measured positions of the commanded joints [rad], shape (action width,).

        :param state: the newest state.
        """
        measured: NDArray[np.float64] = state.joint_position[self._indices]
        return measured

    def check(self, state: RobotState, now: float) -> Fault | None:
        """
        Return the first fault that the state shows, or None.

        :param state: the newest state.
        :param now: steady-clock time [s].
        """
        settings, joints, imu = self._settings, state.joints, state.imu
        if (now - joints.received_at <= settings.joint_timeout
                and now - imu.received_at <= settings.imu_timeout
                and not joints.rejected and not imu.rejected and not self._needs_odometry
                and -state.gravity[2] >= self._cos_max_tilt
                and self._is_inside(state)):
            return None
        return self._find(state, now)

    def _is_inside(self, state: RobotState) -> bool:
        np.less_equal(self._low, state.joint_position, out=self._above)
        np.less_equal(state.joint_position, self._high, out=self._below)
        return np.count_nonzero(self._inside) == self._inside.size

    def _find(self, state: RobotState, now: float) -> Fault | None:
        """Check one by one, in the order of what explains what."""
        settings = self._settings
        return (self._check_input('F101', 'joint_states', state.joints,
                                  settings.joint_timeout, now)
                or self._check_input('F102', 'imu', state.imu, settings.imu_timeout, now)
                or (self._check_input('F103', 'odometry', state.odometry,
                                      settings.odometry_timeout, now)
                    if self._needs_odometry else None)
                or self._check_tilt(state)
                or self._check_position(state))

    def _check_input(self, code: str, topic: str, input_: Reception, timeout: float,
                     now: float) -> Fault | None:
        if input_.rejected > self._settings.max_rejected and input_.reason is not None:
            return input_.reason
        age = now - input_.received_at
        if age <= timeout:
            return None
        if input_.reason is not None:
            return input_.reason
        if math.isinf(age):
            return Fault(code, f'no {topic} received yet; check that the driver publishes it '
                               'and that the topic name is right')
        return Fault(code, f'{topic} stale: {age * MILLISECONDS:.4g} ms > '
                           f'{timeout * MILLISECONDS:.0f} ms. Check the driver and the network')

    def _check_tilt(self, state: RobotState) -> Fault | None:
        gravity_z = float(state.gravity[2])
        if -gravity_z >= self._cos_max_tilt:
            return None
        return Fault('F303', f'the base is tilted by {math.degrees(tilt_of(gravity_z)):.0f} deg, '
                             f'limit {math.degrees(self._settings.max_tilt):.0f} deg. '
                             'Put the robot upright')

    def _check_position(self, state: RobotState) -> Fault | None:
        if self._is_inside(state):
            return None
        limits, measured = self._limits, self.measured(state)
        worst = int(np.maximum(limits.lower - measured, measured - limits.upper).argmax())
        return Fault('F301', f'joint {self._joints[worst]} measured at {measured[worst]:.3f} rad, '
                             f'limits [{limits.lower[worst]:.3f}, {limits.upper[worst]:.3f}] with '
                             f'{limits.tolerance:g} rad tolerance. Move it inside, or check its '
                             'zero and the limits')
