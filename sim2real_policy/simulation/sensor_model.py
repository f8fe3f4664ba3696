"""What real sensors do to a reading: noise, delay, loss."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.simulation.reading import Reading


@dataclass(frozen=True)
class SensorSettings:
    """
    Standard deviations of the noise, delay and loss.

    ``joint_position`` [rad], ``joint_velocity`` [rad/s], ``angular_velocity`` [rad/s] and
    ``orientation`` [rad, about each axis] are standard deviations of white noise; ``delay`` [s]
    lies between measuring and sending; ``loss`` is the probability that a message is lost.
    """

    joint_position: float = 0.0
    joint_velocity: float = 0.0
    angular_velocity: float = 0.0
    orientation: float = 0.0
    delay: float = 0.0
    loss: float = 0.0


class SensorModel:
    """Degrade readings; the same seed and readings give the same results."""

    def __init__(self, settings: SensorSettings, joint_count: int, period: float,
                 seed: int) -> None:
        """
        Allocate what the delay needs.

        :param settings: what to do to the readings.
        :param joint_count: how many joints the robot has.
        :param period: between two readings [s]; the delay is rounded to whole periods.
        :param seed: of the noise and of the losses.
        """
        self.settings = settings
        self._noise = np.random.default_rng([seed, 0])
        self._losses = np.random.default_rng([seed, 1])
        self._deviation = self._deviations(Reading(joint_count))
        self._noisy = bool(self._deviation.any())
        self.delay_periods = round(settings.delay / period)
        self.delay = self.delay_periods * period
        self._line = [Reading(joint_count) for _ in range(self.delay_periods + 1)]
        self._count = 0

    def restart(self) -> None:
        """Forget the readings that are still on their way."""
        self._count = 0

    def measure(self, truth: Reading) -> Reading | None:
        """
        Measure once.

        :param truth: the true values, which stay as they are.
        :returns: the reading that arrives now, with the stamp of its own measurement; None
            while the first one is still on its way. It is valid until the next call.
        """
        newest = self._line[self._count % len(self._line)]
        newest.copy_from(truth)
        if self._noisy:
            newest.values += self._deviation * self._noise.standard_normal(len(newest.values))
        if self.settings.orientation > 0.0:
            self._disturb(newest.orientation)
        self._count += 1
        if self._count < len(self._line):
            return None
        return self._line[self._count % len(self._line)]

    def is_lost(self) -> bool:
        """Decide whether one message is lost."""
        return self.settings.loss > 0.0 and self._losses.random() < self.settings.loss

    def _deviations(self, layout: Reading) -> NDArray[np.float64]:
        layout.joint_position[:] = self.settings.joint_position
        layout.joint_velocity[:] = self.settings.joint_velocity
        layout.angular_velocity[:] = self.settings.angular_velocity
        return layout.values

    def _disturb(self, orientation: NDArray[np.float64]) -> None:
        """Turn by a small random rotation in the sensor's own frame: q becomes q * turn."""
        a, b, c = (self.settings.orientation * self._noise.standard_normal(3)).tolist()
        angle = math.sqrt(a * a + b * b + c * c)
        half = 0.5 * math.sin(0.5 * angle) / (0.5 * angle) if angle > 0.0 else 0.5
        a, b, c, w = half * a, half * b, half * c, math.cos(0.5 * angle)
        qx, qy, qz, qw = orientation.tolist()
        orientation[0] = qw * a + qx * w + qy * c - qz * b
        orientation[1] = qw * b - qx * c + qy * w + qz * a
        orientation[2] = qw * c + qx * b - qy * a + qz * w
        orientation[3] = qw * w - qx * a - qy * b - qz * c
