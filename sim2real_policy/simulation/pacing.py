"""Run a function at a fixed rate in its own thread, on absolute deadlines."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time

NANOSECONDS = 1_000_000_000


class Deadlines:
    """
    Deadlines on a fixed grid.

    A deadline that was missed by a whole period or more is skipped and counted; it is never
    made up for by a burst.
    """

    def __init__(self, period_ns: int, start_ns: int) -> None:
        """
        Start the grid.

        :param period_ns: between two deadlines [ns].
        :param start_ns: the first deadline is one period later.
        """
        self.period_ns = period_ns
        self.skipped = 0
        self._last = start_ns

    def next(self, now_ns: int) -> int:
        """
        Return the next deadline, which may have passed by less than one period.

        :param now_ns: the time [ns].
        """
        deadline = self._last + self.period_ns
        late = (now_ns - deadline) // self.period_ns
        if late > 0:
            self.skipped += late
            deadline += late * self.period_ns
        self._last = deadline
        return deadline


class PacedThread:
    """
    A thread that calls one function at each deadline of the steady clock.

    An exception ends the thread; it is kept in ``failure`` for whoever owns the thread.
    """

    def __init__(self, function: Callable[[], None], period_ns: int, name: str) -> None:
        """
        Prepare the thread.

        :param function: to call.
        :param period_ns: between two calls [ns].
        :param name: of the thread.
        """
        self.failure: Exception | None = None
        self._function = function
        self._deadlines = Deadlines(period_ns, time.monotonic_ns())
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def skipped(self) -> int:
        """Number of deadlines that were skipped."""
        return self._deadlines.skipped

    def start(self) -> None:
        """Start; the first call comes one period from now."""
        self._deadlines = Deadlines(self._deadlines.period_ns, time.monotonic_ns())
        self._thread.start()

    def stop(self) -> None:
        """Finish the call under way, make no other, and wait for that."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping:
                deadline = self._deadlines.next(time.monotonic_ns())
                wait = deadline - time.monotonic_ns()
                if wait > 0:
                    time.sleep(wait / NANOSECONDS)
                if not self._stopping:
                    self._function()
        except Exception as error:  # noqa: BLE001 - the owner reports it
            self.failure = error
