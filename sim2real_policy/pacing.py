"""Absolute deadlines on the steady clock: lost ones are skipped and counted, never made up."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import time

_PR_SET_TIMERSLACK = 29
_NANOSECONDS = 1e9


class DeadlinePacer:
    """
    Wakes once per period, at multiples of the period after the start.

    A deadline that passed less than a period ago is met at once, late; of those further back
    only the last one is, and ``missed`` counts the others. ``lateness`` is how long after its
    deadline the last wake-up came [s].
    """

    def __init__(self, period: float, clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        """
        Start the series now.

        :param period: time between two deadlines [s].
        :param clock: reads a steady clock [s].
        :param sleep: waits for a time [s]; may wake late, never early.
        """
        self.missed = 0
        self.lateness = 0.0
        self._period = period
        self._clock = clock
        self._sleep = sleep
        self.restart()

    def restart(self) -> None:
        """Begin a new series of deadlines now."""
        self._deadline = self._clock()

    def doze(self, lead: float) -> bool:
        """
        Sleep until shortly before the next deadline.

        :param lead: how long before [s].
        :returns: False, at once, where less than that is left.
        """
        left = self._deadline + self._period - lead - self._clock()
        if left > 0.0:
            self._sleep(left)
        return left > 0.0

    def wait(self) -> float:
        """Sleep until the next deadline, unless it has passed; return the time of waking [s]."""
        self._deadline += self._period
        now = self._clock()
        lost = int((now - self._deadline) // self._period)
        if lost > 0:
            self.missed += lost
            self._deadline += lost * self._period
        while now < self._deadline:
            self._sleep(self._deadline - now)
            now = self._clock()
        self.lateness = now - self._deadline
        return now


def sharpen_timers() -> None:
    """Ask Linux to wake this thread without the usual 50 us of slack; no effect elsewhere."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return
