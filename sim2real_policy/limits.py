"""Limits of the joint targets, as data, and the limiter that keeps them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointLimits:
    """
    What a target may be, per commanded joint, shape (action width,).

    ``lower`` and ``upper`` [rad] bound the target, ``max_step`` [rad] its change from one
    control period to the next. A joint measured more than ``tolerance`` [rad] outside its
    bounds is a fault.
    """

    lower: Array
    upper: Array
    max_step: Array
    tolerance: float

    def inside(self, position: Array) -> Array:
        """
        Return the nearest position inside the bounds [rad], shape (action width,).

        :param position: finite, same shape [rad].
        """
        return np.minimum(np.maximum(position, self.lower), self.upper)


class Limiter:
    """
    Keeps each target inside its bounds and within one step of the target before.

    The step counts from the last *target*, not from the measured joint: a measured joint lags
    behind and would throttle a healthy robot. ``limited`` counts per joint the targets changed.
    """

    def __init__(self, limits: JointLimits) -> None:
        """
        Allocate the buffers.

        :param limits: what to keep.
        """
        self._limits = limits
        self._wanted = np.empty_like(limits.lower)
        self._low = np.empty_like(limits.lower)
        self._high = np.empty_like(limits.lower)
        self._changed = np.zeros(limits.lower.shape, dtype=bool)
        self.limited: NDArray[np.int64] = np.zeros(limits.lower.shape, dtype=np.int64)

    def advance(self, last: Array, target: NDArray[np.floating]) -> None:
        """
        Move ``last`` in place as near to the target as is allowed.

        :param last: the target sent before, inside the bounds [rad], shape (action width,).
        :param target: what is wanted; finite or infinite, never NaN [rad], same shape.
        """
        limits, wanted, low, high = self._limits, self._wanted, self._low, self._high
        wanted[:] = target
        np.subtract(last, limits.max_step, out=low)
        np.maximum(low, limits.lower, out=low)
        np.add(last, limits.max_step, out=high)
        np.minimum(high, limits.upper, out=high)
        np.maximum(wanted, low, out=last)
        np.minimum(last, high, out=last)
        np.not_equal(last, wanted, out=self._changed)
        if np.count_nonzero(self._changed):
            self.limited += self._changed
