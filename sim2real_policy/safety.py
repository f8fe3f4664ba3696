"""
The failsafe state machine, and the only maker of a command that may leave.

WAITING (inputs not all good) -> RAMP (from the measured pose to the policy) -> RUN; any fault in
RAMP or RUN -> FAULT, which is latched: only :meth:`Safety.reset_fault` leaves it.
"""

from __future__ import annotations

from enum import Enum
import threading

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.faults import Fault
from sim2real_policy.limits import JointLimits, Limiter
from sim2real_policy.monitors import InputMonitor
from sim2real_policy.state import RobotState

_KEY = object()


class Phase(Enum):
    """Where the failsafe stands."""

    INACTIVE = 'INACTIVE'
    WAITING = 'WAITING'
    RAMP = 'RAMP'
    RUN = 'RUN'
    FAULT = 'FAULT'


class SafeCommand:
    """
    Joint targets that passed every check; nothing else is ever converted to a message.

    ``position`` [rad] has shape (action width,) in the order of the raw action; ``phase`` tells
    whether the policy made it (RAMP, RUN) or it holds a pose (FAULT, INACTIVE).
    """

    __slots__ = ('phase', 'position')

    def __init__(self, key: object, position: NDArray[np.float64], phase: Phase) -> None:
        """
        Refuse everybody but :class:`Safety`.

        :param key: known to this module alone.
        :param position: the buffer with the targets [rad].
        :param phase: the phase that it was made in.
        """
        if key is not _KEY:
            raise TypeError('only sim2real_policy.safety makes a SafeCommand')
        self.position = position
        self.phase = phase


class Safety:
    """Decides at each tick whether the policy may act, and bounds what it does."""

    def __init__(self, monitor: InputMonitor, limits: JointLimits, ramp_duration: float,
                 max_bad_outputs: int = 1) -> None:
        """
        Start inactive.

        :param monitor: the checks on the inputs.
        :param limits: bounds of the targets.
        :param ramp_duration: time [s] from the measured pose to the policy's targets.
        :param max_bad_outputs: non-finite outputs in a row that are bridged with the last target.
        """
        width = len(limits.lower)
        self.phase = Phase.INACTIVE
        self.reason: Fault | None = None
        self.limiter = Limiter(limits)
        self._monitor = monitor
        self._limits = limits
        self._ramp_duration = ramp_duration
        self._max_bad_outputs = max_bad_outputs
        self._bad_outputs = 0
        self._ramp_started_at = 0.0
        self._start = np.zeros(width)
        self._hold = np.zeros(width)
        self._last = np.zeros(width)
        self._blend = np.zeros(width)
        self._command = SafeCommand(_KEY, self._last, Phase.INACTIVE)
        self._has_sent = False
        self._lock = threading.Lock()  # the watchdog may send while a hung tick comes back

    @property
    def policy_may_act(self) -> bool:
        """Tell whether the policy's output may become a command now."""
        return self.phase is Phase.RAMP or self.phase is Phase.RUN

    def activate(self) -> None:
        """Begin to wait for good inputs."""
        self.phase = Phase.WAITING
        self.reason = None
        self._has_sent = False

    def check(self, state: RobotState, now: float) -> bool:
        """
        Check the inputs and move between the phases.

        :param state: the newest state.
        :param now: steady-clock time [s].
        :returns: True where a new RAMP begins, and with it a new life of the policy.
        """
        if self.phase is Phase.FAULT or self.phase is Phase.INACTIVE:
            return False
        fault = self._monitor.check(state, now)
        if self.phase is Phase.WAITING:
            self.reason = fault
            if fault is None:
                self._begin_ramp(state, now)
            return fault is None
        if fault is not None:
            self.trip(fault, state)
        elif self.phase is Phase.RAMP and now - self._ramp_started_at >= self._ramp_duration:
            self.phase = Phase.RUN
        return False

    def limit(self, target: NDArray[np.float32], now: float) -> SafeCommand | None:
        """
        Bound the policy's targets; in RAMP, blend them with the pose where it began.

        :param target: finite or infinite, never NaN [rad], shape (action width,).
        :param now: steady-clock time [s].
        :returns: the command; the held pose if a fault came while the policy was computing.
        """
        if not self.policy_may_act:
            return self.hold()
        self._bad_outputs = 0
        if self.phase is Phase.RUN:
            return self._send(target)
        share = min(1.0, (now - self._ramp_started_at) / self._ramp_duration)
        blend = self._blend
        np.maximum(target, self._limits.lower, out=blend)
        np.minimum(blend, self._limits.upper, out=blend)
        blend -= self._start
        blend *= share
        blend += self._start
        return self._send(blend)

    def refuse_output(self, what: str, state: RobotState) -> SafeCommand | None:
        """
        Answer a non-finite policy output: the last target once, then a fault.

        :param what: description of the output.
        :param state: the newest state.
        """
        if not self.policy_may_act:
            return self.hold()
        self._bad_outputs += 1
        if self._bad_outputs > self._max_bad_outputs:
            self.trip(Fault('F209', f'policy output is not finite ({what}) '
                                    f'{self._bad_outputs} times in a row. Check the network '
                                    'with tools/export_onnx.py and the inputs'), state)
        return self.hold() if self.phase is Phase.FAULT else self._send(self._last)

    def trip(self, fault: Fault, state: RobotState) -> None:
        """
        Latch a fault and hold the measured pose from now on.

        :param fault: why.
        :param state: the newest state; its joint positions are finite once received.
        """
        if self.phase in (Phase.FAULT, Phase.INACTIVE):
            return
        self.phase = Phase.FAULT
        self.reason = fault
        self._hold[:] = self._limits.inside(self._monitor.measured(state))

    def hold(self) -> SafeCommand | None:
        """Return the next step towards the held pose, or None while nothing was ever sent."""
        if not self._has_sent:
            return None
        return self._send(self._hold)

    def stop(self, state: RobotState) -> SafeCommand | None:
        """
        End activity: return the measured pose as the last command, or None if none was sent.

        Call :meth:`hold` for the further steps where the step limit does not allow one.

        :param state: the newest state.
        """
        if self.phase is not Phase.FAULT:
            self._hold[:] = self._limits.inside(self._monitor.measured(state))
        self.phase = Phase.INACTIVE
        return self.hold()

    def reset_fault(self, state: RobotState, now: float) -> Fault | None:
        """
        Leave FAULT for a new RAMP where the cause is gone.

        :param state: the newest state.
        :param now: steady-clock time [s].
        :returns: None where it worked, else what is still wrong.
        """
        if self.phase is not Phase.FAULT:
            return None
        fault = self._monitor.check(state, now)
        if fault is None:
            self.phase = Phase.WAITING
            self.reason = None
        return fault

    def _begin_ramp(self, state: RobotState, now: float) -> None:
        self.phase = Phase.RAMP
        self._ramp_started_at = now
        self._bad_outputs = 0
        self._start[:] = self._limits.inside(self._monitor.measured(state))
        if not self._has_sent:
            self._last[:] = self._start

    def _send(self, target: NDArray[np.floating]) -> SafeCommand:
        with self._lock:
            self.limiter.advance(self._last, target)
        self._has_sent = True
        self._command.phase = self.phase
        return self._command
