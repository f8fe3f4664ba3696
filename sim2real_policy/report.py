"""What the node tells: ~/state at every change, /diagnostics once a second."""

from __future__ import annotations

import time
from typing import Any, TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sim2real_policy.diagnostics import diagnostic_status
from sim2real_policy.safety import Phase
from sim2real_policy.state import NEVER, Reception

if TYPE_CHECKING:
    from sim2real_policy.policy_node import PolicyNode

_LEVELS = {Phase.INACTIVE: DiagnosticStatus.OK, Phase.WAITING: DiagnosticStatus.WARN,
           Phase.RAMP: DiagnosticStatus.OK, Phase.RUN: DiagnosticStatus.OK,
           Phase.FAULT: DiagnosticStatus.ERROR}
_SHORT_HASH = 12


class NodeReport:
    """Reads the node from the main thread; writes nothing into it."""

    def __init__(self, node: PolicyNode, state_publisher: Any, diagnostics_publisher: Any) -> None:
        """
        Note where to tell.

        :param node: what to tell about.
        :param state_publisher: latched, of DiagnosticStatus.
        :param diagnostics_publisher: of DiagnosticArray.
        """
        self.refusal = ''
        self._node = node
        self._state_publisher = state_publisher
        self._diagnostics_publisher = diagnostics_publisher
        self._told: tuple[str, str] | None = None
        self._ticks_told = 0
        self._told_at = time.monotonic()

    def refuse(self, reason: str) -> None:
        """
        Tell why a transition failed.

        :param reason: one sentence, or the trace of an internal error.
        """
        self.refusal = reason
        self._node.get_logger().error(reason)

    def tell_configuration(self) -> None:
        """Log what was configured, and each warning about the backend."""
        logger = self._node.get_logger()
        logger.info(self.describe())
        loop = self._node.loop
        for warning in loop.runner.facts.warnings if loop is not None else ():
            logger.warning(warning)

    def describe(self) -> str:
        """Return in one line what was configured."""
        contract, loop = self._node.bundle.contract, self._node.loop
        backend = f'{loop.runner.name} ({loop.runner.facts.reason})' if loop is not None \
            else 'none'
        return (f"policy '{contract.name}' ({contract.network.sha256[:_SHORT_HASH]}): "
                f'{contract.observation_width} observations, {contract.action_width} joints, '
                f'{1.0 / contract.control_period:g} Hz, {backend}, golden check passed')

    def _phase(self) -> tuple[str, str, bytes]:
        loop = self._node.loop
        if loop is None:
            return 'UNCONFIGURED', self.refusal, DiagnosticStatus.ERROR if self.refusal \
                else DiagnosticStatus.OK
        safety = loop.pipeline.safety
        phase = safety.phase
        reason = self.refusal if phase is Phase.INACTIVE else str(safety.reason or '')
        return phase.value, reason, _LEVELS[phase]

    def publish_state_changes(self) -> None:
        """Publish ~/state where the phase, or the code of its reason, is another one."""
        phase, reason, level = self._phase()
        key = (phase, reason.split(' ')[0] if phase == Phase.WAITING.value else reason)
        if key == self._told:
            return
        self._told = key
        self._state_publisher.publish(self._state_status(phase, reason, level))
        logger = self._node.get_logger()
        text = f'{phase}: {reason}' if reason else phase
        if level == DiagnosticStatus.ERROR:
            logger.error(text)
        else:  # rclpy refuses one call site with two severities
            logger.info(text)

    def _state_status(self, phase: str, reason: str, level: bytes) -> DiagnosticStatus:
        values: dict[str, object] = {'phase': phase, 'reason': reason}
        loop = self._node.loop
        if loop is not None:
            contract = self._node.bundle.contract
            values |= {'backend': loop.runner.name,
                       'backend_reason': loop.runner.facts.reason, 'policy': contract.name,
                       'onnx_sha256': contract.network.sha256}
        return diagnostic_status(level, f'{self._node.get_name()}: state',
                                 f'{phase}: {reason}' if reason else phase,
                                 self._hardware_id(), values)

    def _hardware_id(self) -> str:
        return self._node.bundle.contract.name if self._node.loop is not None else ''

    def publish_diagnostics(self) -> None:
        """Publish the state and, once configured, inputs, loop, commands, backend, board."""
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        array.status.append(self._state_status(*self._phase()))
        if self._node.loop is not None:
            array.status += [self._inputs_status(), self._loop_status(), self._command_status(),
                             self._backend_status()]
        if self._node.board_monitor is not None:
            board = self._node.board_monitor.report()
            array.status.append(self._status('board', board.warnings, board.values))
        self._diagnostics_publisher.publish(array)

    def _inputs_status(self) -> DiagnosticStatus:
        inbox, loop, now = self._node.inbox, self._node.loop, time.monotonic()
        assert loop is not None
        state = loop.pipeline.state
        values: dict[str, object] = {}
        for name, counter in inbox.rates.items():
            values[f'{name}_rate_hz'] = counter.rate(now)
        for name, input_ in (('joint_states', state.joints), ('imu', state.imu),
                             ('odometry', state.odometry)):
            values |= _input_values(name, input_, now)
        values |= {
            'joint_states_out_of_order': inbox.joint_decoder.out_of_order,
            'imu_out_of_order': inbox.imu_decoder.out_of_order,
            'joint_states_decoded_in_full': inbox.joint_decoder.typed,
            'imu_decoded_in_full': inbox.imu_decoder.typed,
            'cmd_vel_rejected': inbox.rejected_commands}
        rejected = [str(input_.reason) for input_ in (state.joints, state.imu, state.odometry)
                    if input_.reason is not None]
        return self._status('inputs', rejected, values)

    def _loop_status(self) -> DiagnosticStatus:
        loop, now = self._node.loop, time.monotonic()
        assert loop is not None
        ticks = loop.statistics.ticks
        values: dict[str, object] = {
            'tick_rate_hz': (ticks - self._ticks_told) / max(now - self._told_at, 1e-9),
            'ticks': ticks, 'missed_ticks': loop.pacer.missed,
            'overrun_triggers': loop.overrun_triggers}
        for field, summary in loop.statistics.summary(self._ticks_told).items():
            values |= {f'{field}_{name}_us': value for name, value in summary.items()}
        self._ticks_told, self._told_at = ticks, now
        return self._status('loop', [], values)

    def publish_run(self) -> None:
        """Publish what the run that just ended was like, over its newest ticks."""
        loop = self._node.loop
        assert loop is not None
        statistics = loop.statistics
        values: dict[str, object] = {
            'ticks': statistics.ticks, 'tick_rate_hz': statistics.rate_hz(),
            'missed_ticks': loop.pacer.missed, 'overrun_triggers': loop.overrun_triggers}
        for field, summary in statistics.summary().items():
            values |= {f'{field}_{name}_us': value for name, value in summary.items()}
        array = DiagnosticArray(status=[self._status('run', [], values)])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(array)

    def _backend_status(self) -> DiagnosticStatus:
        assert self._node.loop is not None
        runner = self._node.loop.runner
        return self._status('backend', list(runner.facts.warnings),
                            {'backend': runner.name, 'reason': runner.facts.reason})

    def _command_status(self) -> DiagnosticStatus:
        loop, output = self._node.loop, self._node.output
        assert loop is not None
        velocity, limiter = loop.pipeline.velocity, loop.pipeline.safety.limiter
        joints = self._node.bundle.contract.action_joints
        values: dict[str, object] = {
            'commands_sent': output.sent,
            'subscribers': self._node.count_command_subscribers(),
            'cmd_vel_timed_out': velocity.timed_out, 'cmd_vel_clipped': velocity.clipped}
        values |= {f'limited_{joint}': int(count)
                   for joint, count in zip(joints, limiter.limited, strict=True)}
        active = loop.pipeline.safety.policy_may_act
        warnings = ['nobody listens to the commands; is the controller active?'] \
            if active and not values['subscribers'] else []
        return self._status('command', warnings, values)

    def _status(self, name: str, warnings: list[str], values: dict[str, object]) \
            -> DiagnosticStatus:
        level = DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
        return diagnostic_status(level, f'{self._node.get_name()}: {name}',
                                 '; '.join(warnings) or 'OK', self._hardware_id(), values)


def _input_values(name: str, input_: Reception, now: float) -> dict[str, object]:
    """Return age and refusals of one input, nothing for one that was never received."""
    if input_.received_at == NEVER and not input_.rejected:
        return {}
    return {f'{name}_age_ms': (now - input_.received_at) * 1e3,
            f'{name}_rejected': input_.rejected}
