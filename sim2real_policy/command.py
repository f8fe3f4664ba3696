"""The operator's velocity command: made zero when old, kept inside what training saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import Command, UNLIMITED, VELOCITY_COMMAND
from sim2real_policy.state import NO_COMMAND, VelocityCommand

FLOAT32_MAX = float(np.finfo(np.float32).max)


class VelocityFilter:
    """
    Writes the command for the policy into ``value``: (vx [m/s], vy [m/s], wz [rad/s]).

    ``timed_out`` tells whether the last one was replaced by zero, ``clipped`` counts the
    commands that were outside the range of training.
    """

    def __init__(self, command: Command | None, timeout: float) -> None:
        """
        Take over the ranges of training.

        :param command: the contract's command; without ranges nothing is clipped.
        :param timeout: age [s] above which the command is zero.
        """
        ranges = command.ranges if command is not None else None
        self._bounds = tuple(UNLIMITED if ranges is None else getattr(ranges, name)
                             for name in VELOCITY_COMMAND)
        self._timeout = timeout
        self.value: NDArray[np.float32] = np.zeros(len(VELOCITY_COMMAND), dtype=np.float32)
        self._applied = NO_COMMAND
        self.timed_out = True
        self.clipped = 0

    def apply(self, command: VelocityCommand, now: float, listen: bool) -> NDArray[np.float32]:
        """
        Return what the policy shall follow at this tick, shape (3,).

        :param command: the newest one received.
        :param now: steady-clock time [s].
        :param listen: False while the robot shall stand, as in RAMP.
        """
        self.timed_out = not now - command.received_at <= self._timeout
        if self.timed_out or not listen:
            command = NO_COMMAND
        if command is not self._applied:
            self._applied = command
            self._write(command)
        return self.value

    def _write(self, command: VelocityCommand) -> None:
        asked = (command.linear_x, command.linear_y, command.angular_z)
        if command is NO_COMMAND or not all(abs(value) <= FLOAT32_MAX for value in asked):
            self.value.fill(0.0)  # unclipped: training's range need not hold zero
            return
        kept = tuple(min(max(value, low), high)
                     for value, (low, high) in zip(asked, self._bounds, strict=True))
        self.clipped += kept != asked
        self.value[:] = kept
