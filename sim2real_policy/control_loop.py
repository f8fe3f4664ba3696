"""The control thread: it alone owns the runner and the pipeline, and ticks them in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
import traceback

from sim2real_policy.command_output import CommandOutput
from sim2real_policy.diagnostics import TickStatistics
from sim2real_policy.errors import PolicyError
from sim2real_policy.faults import Fault
from sim2real_policy.inbox import Inbox
from sim2real_policy.inference import PolicyRunner
from sim2real_policy.pacing import DeadlinePacer, sharpen_timers
from sim2real_policy.pipeline import PolicyPipeline
from sim2real_policy.rehearsal import Rehearsal
from sim2real_policy.safety import Phase
from sim2real_policy.state import RobotState

REHEARSAL_LEAD = 1e-3  # s; the rehearsal itself takes half of it
_NANOSECONDS = 1e9
_START_PATIENCE = 120.0  # s; a network is loaded, warmed up and checked in this time


class _Wakeup:
    """A flag that one thread raises and one waits for; a bare lock is the fastest there is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def notify(self) -> bool:
        """Raise the flag; False where it was up already."""
        try:
            self._lock.release()
        except RuntimeError:
            return False
        return True

    def wait(self, timeout: float) -> bool:
        """Wait for the flag and lower it; False after the timeout [s]."""
        return self._lock.acquire(timeout=timeout)


@dataclass(frozen=True)
class Cast:
    """What the control thread owns; without a rehearsal every tick comes cold."""

    runner: PolicyRunner
    pipeline: PolicyPipeline
    rehearsal: Rehearsal | None = None


class ControlLoop:
    """
    Runs the pipeline at its period, or whenever :meth:`trigger` says so.

    Everybody else holds ``lock`` while touching ``pipeline``. ``busy_since`` is when the running
    tick began (steady clock [s]), None between two ticks: a watchdog reads it.
    """

    def __init__(self, build: Callable[[], Cast], inbox: Inbox, output: CommandOutput,
                 period: float, triggered: bool, patience: float,
                 stamp_clock_ns: Callable[[], int]) -> None:
        """
        Note how to work; nothing starts yet.

        :param build: makes runner, pipeline and rehearsal; called in the control thread.
        :param inbox: where the measurements arrive.
        :param output: where the commands leave.
        :param period: control period [s].
        :param triggered: wait for :meth:`trigger` rather than for the period.
        :param patience: how long to wait for a trigger [s] before the inputs are checked anyway;
            not below their timeouts, so that such a tick finds a fault and never moves the policy.
        :param stamp_clock_ns: reads ROS time [ns].
        """
        self.lock = threading.Lock()
        self.statistics = TickStatistics()
        self.pacer = DeadlinePacer(period)
        self.busy_since: float | None = None
        self.overrun_triggers = 0
        self.runner: PolicyRunner
        self.pipeline: PolicyPipeline
        self._rehearsal: Rehearsal | None = None
        self._build = build
        self._inbox = inbox
        self._output = output
        self._period = period
        self._triggered = triggered
        self._patience = patience
        self._stamp_clock_ns = stamp_clock_ns
        self._wakeup = _Wakeup()
        self._active = False
        self._closing = False
        self._idle = threading.Event()
        self._resume = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name='control', daemon=True)

    def start(self) -> None:
        """
        Start the thread and wait until it has built runner and pipeline.

        :raises PolicyError: if it could not.
        """
        self._thread.start()
        if not self._idle.wait(_START_PATIENCE):
            raise PolicyError(f'the network was not loaded within {_START_PATIENCE:g} s')
        if self._failure is not None:
            raise self._failure

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def activate(self) -> None:
        """Begin to tick, waiting for good inputs."""
        with self.lock:
            self._inbox.forget()
            self.pipeline.activate()
            self.statistics.forget()
            self.pacer.missed = self.overrun_triggers = 0
        self._idle.clear()
        self._active = True
        self._resume.set()

    def deactivate(self, timeout: float) -> bool:
        """
        Stop ticking.

        :param timeout: how long to wait for the running tick [s].
        :returns: False where it did not end in time.
        """
        self._active = False
        self._wakeup.notify()
        return self._idle.wait(timeout)

    def close(self, timeout: float) -> bool:
        """
        End the thread; it closes the runner.

        :param timeout: how long to wait for it [s].
        :returns: False where it did not end in time.
        """
        self._closing = True
        self._active = False
        self._resume.set()
        self._wakeup.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def trigger(self) -> None:
        """Start a tick now; counted as overrun where the one before has not even begun."""
        if not self._wakeup.notify():
            self.overrun_triggers += 1

    def _run(self) -> None:
        sharpen_timers()
        try:
            cast = self._build()
            self.runner, self.pipeline = cast.runner, cast.pipeline
            self._rehearsal = cast.rehearsal
        except Exception as error:  # noqa: BLE001  handed to the thread that called start
            self._failure = error
            self._idle.set()
            return
        self._idle.set()
        try:
            while not self._closing:
                self._resume.wait()
                self._resume.clear()
                self._tick_while_active()
                self._idle.set()
        finally:
            self.runner.close()

    def _tick_while_active(self) -> None:
        self.pacer.restart()
        while self._active:
            now = self._wait()
            if not self._active:
                return
            self.busy_since = now
            with self.lock:
                try:
                    self._tick(now)
                except Exception:  # noqa: BLE001  the boundary: whatever it was, hold the robot
                    self._fail(traceback.format_exc())
            self.busy_since = None

    def _wait(self) -> float:
        if not self._triggered:
            if self._rehearsal is not None and self.pacer.doze(REHEARSAL_LEAD):
                self._rehearse(self._rehearsal)
            return self.pacer.wait()
        holding = self.pipeline.safety.phase is Phase.FAULT
        self._wakeup.wait(self._period if holding else self._patience)
        return time.monotonic()

    def _rehearse(self, rehearsal: Rehearsal) -> None:
        """Warm up for the tick; whatever is wrong, the tick itself will find and tell it."""
        try:
            rehearsal.rehearse(time.monotonic())
        except Exception:  # noqa: BLE001  must never cost a tick
            self._rehearsal = None

    def _tick(self, now: float) -> None:
        pipeline, inbox = self.pipeline, self._inbox
        begin = time.perf_counter_ns()
        inbox.collect(pipeline.state)
        command = pipeline.step(inbox.command, now)
        if command is None:
            return
        stepped = time.perf_counter_ns()
        self._output.send(command)
        end = time.perf_counter_ns()
        a, b, c, d = pipeline.marks
        self.statistics.record(begin, (
            a - begin, b - a, c - b, d - c, end - stepped, end - begin,
            int(self.pacer.lateness * _NANOSECONDS),
            self._sensor_age_ns()))

    def _sensor_age_ns(self) -> int:
        """Return the age of the joint measurement, by its stamp where it has one [ns]."""
        joints = self.pipeline.state.joints
        if joints.stamp_ns:
            return self._stamp_clock_ns() - joints.stamp_ns
        return int((time.monotonic() - joints.received_at) * _NANOSECONDS)

    def _fail(self, trace: str) -> None:
        self.pipeline.safety.trip(
            Fault('F309', f'internal error, please report it: {trace.strip()}'),
            self.pipeline.state)
        command = self.pipeline.safety.hold()
        if command is not None:
            self._output.send(command)

    def take_over(self, fault: Fault, state: RobotState) -> None:
        """
        Hold the robot from another thread while the running tick does not end.

        :param fault: why.
        :param state: a state of the caller's own, with the newest measurement.
        """
        self.pipeline.safety.trip(fault, state)
        command = self.pipeline.safety.hold()
        if command is not None:
            self._output.send_for_watchdog(command)
