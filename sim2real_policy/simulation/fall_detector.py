"""Tell whether the simulated robot stands, lies as it was put, or has fallen."""

from __future__ import annotations

import enum

FALL_TILT = 60.0
UPRIGHT_TILT = 30.0
UPRIGHT_TIME = 0.2


class Posture(str, enum.Enum):
    """The three postures, in words."""

    STANDING = 'standing'
    LYING = 'lying'
    FALLEN = 'fallen'


class FallDetector:
    """
    Count falls, each of them once.

    A fall is a trunk that tilts by more than 60 degrees or touches the floor, seen while the
    robot stood. It stands (again) once the trunk was clear of the floor and tilted by less than
    30 degrees for 0.2 s, so that a trunk that bounces is one fall.
    """

    def __init__(self, posture: Posture) -> None:
        """
        Start without falls.

        :param posture: ``STANDING``, or ``LYING`` for a robot that was put on the floor.
        """
        self.posture = posture
        self.falls = 0
        self.largest_tilt = 0.0
        self._upright_for = 0.0

    def put_back(self, posture: Posture) -> None:
        """
        Take note that the robot was put back: no fall by itself, the count stays.

        :param posture: as at the start.
        """
        self.posture = posture
        self.largest_tilt = 0.0
        self._upright_for = 0.0

    def update(self, tilt: float, trunk_on_floor: bool, elapsed: float) -> bool:
        """
        Look at the robot once.

        :param tilt: of the trunk against the vertical [deg].
        :param trunk_on_floor: whether the trunk touches the floor.
        :param elapsed: simulated time since the last look [s].
        :returns: True at the moment of a fall, and only then.
        """
        self.largest_tilt = max(self.largest_tilt, tilt)
        if self.posture is Posture.STANDING:
            if trunk_on_floor or tilt > FALL_TILT:
                self.posture = Posture.FALLEN
                self.falls += 1
                self._upright_for = 0.0
                return True
            return False
        upright = not trunk_on_floor and tilt < UPRIGHT_TILT
        self._upright_for = self._upright_for + elapsed if upright else 0.0
        if self._upright_for >= UPRIGHT_TIME - 1e-9:
            self.posture = Posture.STANDING
        return False
