"""From an orientation to gravity as the policy sees it, and nothing more."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def gravity_in_base(x: float, y: float, z: float, w: float) -> tuple[float, float, float]:
    """
    Return the unit vector of gravity in the base frame; (0, 0, -1) when upright.

    The quaternion (x, y, z, w) is the orientation of the base in the world. It may have any
    norm but zero, and q and -q give the same result.
    """
    scale = 2.0 / (x * x + y * y + z * z + w * w)
    return scale * (w * y - x * z), -scale * (y * z + w * x), scale * (x * x + y * y) - 1.0


def tilt_of(gravity_z_in_base: float) -> float:
    """
    Return the angle between the base's z axis and the vertical [rad].

    :param gravity_z_in_base: z of the unit gravity vector in the base frame.
    """
    return math.acos(min(1.0, max(-1.0, -gravity_z_in_base)))


def rotation_matrix(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """
    Return the matrix of a quaternion (x, y, z, w) of any norm but zero, shape (3, 3).

    It takes a vector from the child frame to the parent frame.
    """
    s = 2.0 / (x * x + y * y + z * z + w * w)
    return np.array([
        [1.0 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1.0 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1.0 - s * (x * x + y * y)]])
