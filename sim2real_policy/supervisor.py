"""Whoever may stop the robot besides the policy: operator, watchdog, the end of activity."""

from __future__ import annotations

import time

from sim2real_policy.bundle import Bundle
from sim2real_policy.command_output import CommandOutput
from sim2real_policy.control_loop import ControlLoop
from sim2real_policy.decoding import JointStateDecoder
from sim2real_policy.faults import Fault
from sim2real_policy.inbox import Inbox
from sim2real_policy.safety import Phase
from sim2real_policy.state import NEVER, RobotState

PATIENCE = 1.0  # s; for a running tick to end
MIN_STOP_MESSAGES = 5
_MILLISECONDS = 1e3


class Supervisor:
    """Acts on the control loop from the main thread; every method is safe in every state."""

    def __init__(self, bundle: Bundle, loop: ControlLoop, inbox: Inbox, output: CommandOutput,
                 watchdog_timeout: float, stop_duration: float) -> None:
        """
        Note what to watch.

        :param bundle: the policy.
        :param loop: started.
        :param inbox: where the measurements arrive.
        :param output: where the commands leave.
        :param watchdog_timeout: longest time [s] that a tick may take.
        :param stop_duration: how long the safe command is repeated at the end [s].
        """
        contract = bundle.contract
        self._loop = loop
        self._inbox = inbox
        self._output = output
        self._watchdog_timeout = watchdog_timeout
        self._stop_duration = stop_duration
        self._stop_messages = max(MIN_STOP_MESSAGES,
                                  round(stop_duration / contract.control_period))
        self._decoder = JointStateDecoder(contract)
        self._joints = len(contract.joints.names)

    @property
    def _phase(self) -> Phase:
        return self._loop.pipeline.safety.phase

    def watch(self) -> None:
        """Hold the robot where the running tick takes too long; call it again and again."""
        busy_since = self._loop.busy_since
        if busy_since is not None and time.monotonic() - busy_since > self._watchdog_timeout:
            self._take_over()

    def stop(self) -> bool:
        """
        End activity with the measured pose as the last commands.

        :returns: False where there was no activity to end.
        """
        loop, safety = self._loop, self._loop.pipeline.safety
        if not loop.alive or self._phase is Phase.INACTIVE:
            return False
        finished = loop.deactivate(PATIENCE)
        if finished:
            self._inbox.collect(loop.pipeline.state)
        else:
            self._take_over()
        send = self._output.send if finished else self._output.send_for_watchdog
        command = safety.stop(loop.pipeline.state)
        for _ in range(self._stop_messages):
            if command is not None:
                send(command)
                time.sleep(self._stop_duration / self._stop_messages)
                command = safety.hold()
        return True

    def stop_for_operator(self) -> tuple[bool, str]:
        """Latch an emergency stop; return whether there was something to stop, and words."""
        loop = self._loop
        if self._phase is Phase.INACTIVE:
            return False, 'the node is not active; nothing to stop'
        if loop.lock.acquire(timeout=PATIENCE):
            try:
                loop.pipeline.safety.trip(
                    Fault('F401', 'emergency stop was requested. Call ~/reset_fault to go on'),
                    loop.pipeline.state)
            finally:
                loop.lock.release()
        else:
            self._take_over()
        return True, str(loop.pipeline.safety.reason)

    def reset_fault(self) -> tuple[bool, str]:
        """Leave FAULT where its cause is gone; return whether it worked, and words."""
        loop = self._loop
        if self._phase is not Phase.FAULT:
            return False, 'there is no fault to reset'
        if not loop.lock.acquire(timeout=PATIENCE):
            return False, 'the control thread does not answer'
        try:
            cause = loop.pipeline.safety.reset_fault(loop.pipeline.state, time.monotonic())
        finally:
            loop.lock.release()
        if cause is not None:
            return False, f'the cause is still there: {cause}'
        return True, 'the robot ramps up again'

    def _take_over(self) -> None:
        """Hold the robot at its newest measured pose while the control thread hangs."""
        state, sample = RobotState(self._joints), self._inbox.joint_sample
        if sample is not None:
            self._decoder.decode(*sample, state)
        if state.joints.received_at == NEVER:
            state = self._loop.pipeline.state
        self._loop.take_over(
            Fault('F208', 'the control thread did not finish a tick within '
                          f'{self._watchdog_timeout * _MILLISECONDS:.0f} ms. Check the load of '
                          'the computer and the backend'), state)
