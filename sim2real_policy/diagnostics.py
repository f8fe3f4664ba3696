"""Statistics of the loop, and how they are told on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import numpy as np

TICK_FIELDS = ('decode', 'observation', 'inference', 'safety', 'publish', 'tick', 'lateness',
               'sensor_to_command')
PERCENTILES = {'p50': 50.0, 'p99': 99.0, 'max': 100.0}
_WINDOW = 4096
_NANOSECONDS = 1e9
_MICROSECONDS_PER_NANOSECOND = 1e-3


class TickStatistics:
    """
    The durations of the newest ticks, written by the control thread, read by the main thread.

    One tick is one tuple in a slot of a fixed list, so a reader never sees half a tick.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._slots: list[tuple[int, ...] | None] = [None] * _WINDOW
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self.ticks = 0
        self._first_ns = self._last_ns = 0

    def record(self, begin_ns: int, durations_ns: tuple[int, ...]) -> None:
        """
        Add one tick.

        :param begin_ns: when it began, on a steady clock [ns].
        :param durations_ns: one duration per entry of :data:`TICK_FIELDS` [ns].
        """
        if not self.ticks:
            self._first_ns = begin_ns
        self._last_ns = begin_ns
        self._slots[self.ticks % _WINDOW] = durations_ns
        self.ticks += 1

    def rate_hz(self) -> float:
        """Return the mean rate of all ticks [Hz]; 0 before the second one."""
        span_ns = self._last_ns - self._first_ns
        return (self.ticks - 1) * _NANOSECONDS / span_ns if span_ns else 0.0

    def summary(self, since: int = 0) -> dict[str, dict[str, float]]:
        """
        Return p50, p99 and max per field [us]; empty where no tick was recorded.

        :param since: value of ``ticks`` from which on to look; the window bounds it.
        """
        ticks = self.ticks
        newest = range(max(since, ticks - _WINDOW), ticks)
        rows = [row for row in (self._slots[tick % _WINDOW] for tick in newest) if row]
        if not rows:
            return {}
        table = np.percentile(np.array(rows), list(PERCENTILES.values()), axis=0)
        return {field: dict(zip(PERCENTILES, map(float, column), strict=True))
                for field, column in zip(
                    TICK_FIELDS, (table * _MICROSECONDS_PER_NANOSECOND).T, strict=True)}


class RateCounter:
    """Messages per second between two readings."""

    def __init__(self) -> None:
        """Start at zero."""
        self.count = 0
        self._last_count = 0
        self._last_time: float | None = None

    def rate(self, now: float) -> float:
        """
        Return the rate since the last reading [Hz]; 0 at the first one.

        :param now: steady-clock time [s].
        """
        count, before = self.count, self._last_time
        arrived, self._last_count, self._last_time = count - self._last_count, count, now
        return arrived / (now - before) if before is not None and now > before else 0.0


def diagnostic_status(level: bytes, name: str, message: str, hardware_id: str,
                      values: Mapping[str, object]) -> DiagnosticStatus:
    """
    Build one diagnostic_msgs/DiagnosticStatus.

    :param level: DiagnosticStatus.OK, WARN, ERROR or STALE.
    :param name: ``node: subcomponent`` (REP-107).
    :param message: one line.
    :param hardware_id: what it is about.
    :param values: named values; floats are told with six significant digits.
    """
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=hardware_id,
        values=[KeyValue(key=key, value=f'{value:.6g}' if isinstance(value, float)
                         else str(value)) for key, value in values.items()])
