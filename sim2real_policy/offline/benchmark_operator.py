"""Brings the policy node up, makes sure that the policy drives, and asks what it counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sim2real_policy.bundle import Bundle
from sim2real_policy.offline.benchmark_processes import BenchmarkError, Process
from sim2real_policy.offline.benchmark_robot import node_parameters
from sim2real_policy.offline.benchmark_stream import serve

POLICY_NODE = 'sim2real_policy.policy_node'
PATIENCE = 60.0  # s
_LOOK_PERIOD = 0.05  # s
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                          durability=DurabilityPolicy.TRANSIENT_LOCAL)


def start_policy_node(bundle: Bundle, trigger: str, namespace: str, log: Path) -> Process:
    """
    Start the policy node.

    :param bundle: its policy.
    :param trigger: ``timer`` or ``joint_states``.
    :param namespace: of its topics and services.
    :param log: takes its output.
    """
    return Process(POLICY_NODE, ['--ros-args', '-r', f'__ns:=/{namespace}',
                                 *node_parameters(bundle, trigger)], log)


class Operator:
    """Talks to the policy node while the sensor messages flow."""

    def __init__(self, node: Any, executor: Any, processes: Sequence[Process],
                 namespace: str) -> None:
        """
        Listen to the policy node.

        :param node: of this process.
        :param executor: serves it.
        :param processes: without them there is nothing to wait for.
        :param namespace: of the policy node.
        """
        name = f'/{namespace}/policy_node'
        self.phase = self._message = ''
        self._executor = executor
        self._processes = processes
        self._name = name.strip('/').rpartition('/')[2]
        # Undecoded: the reports that come while somebody measures shall cost nothing.
        self._reports: list[bytes] = []
        self._change_state = node.create_client(ChangeState, f'{name}/change_state')
        node.create_subscription(DiagnosticStatus, f'{name}/state', self._on_state, _LATCHED_QOS)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._reports.append, 10,
                                 raw=True)

    def _on_state(self, message: DiagnosticStatus) -> None:
        self.phase = next((item.value for item in message.values if item.key == 'phase'), '')
        self._message = message.message

    def bring_up(self) -> None:
        """
        Configure, activate, and wait for RUN.

        :raises BenchmarkError: if the node does not get there.
        """
        self._wait('the policy node', self._change_state.service_is_ready)
        self._transition(Transition.TRANSITION_CONFIGURE, 'configure')
        self._transition(Transition.TRANSITION_ACTIVATE, 'activate')
        self._wait('the phase RUN', lambda: self.phase in ('RUN', 'FAULT'))
        self.check()

    def check(self) -> None:
        """
        Look whether the policy drives.

        :raises BenchmarkError: if it does not.
        """
        for process in self._processes:
            process.check()
        if self.phase != 'RUN':
            raise BenchmarkError('the policy node left RUN, so its commands are not the '
                                 f"policy's; it says: {self._message}. Give the benchmark a "
                                 'less busy computer, or check the default pose of the contract')

    def finish(self) -> dict[str, str]:
        """
        Deactivate the node and return what it counted in the run.

        :raises BenchmarkError: if it does not tell.
        """
        self._reports.clear()
        self._transition(Transition.TRANSITION_DEACTIVATE, 'deactivate')
        self._wait('the statistics of the run', self._run_statistics)
        return self._run_statistics()

    def _run_statistics(self) -> dict[str, str]:
        for report in self._reports:
            for status in deserialize_message(report, DiagnosticArray).status:
                if status.name == f'{self._name}: run':
                    return {item.key: item.value for item in status.values}
        return {}

    def _transition(self, transition: int, name: str) -> None:
        answer = self._change_state.call_async(
            ChangeState.Request(transition=Transition(id=transition)))
        self._wait(f"the transition '{name}'", answer.done)
        if not answer.result().success:
            raise BenchmarkError(f'the policy node refused to {name}; it says: {self._message}; '
                                 f'its last words: {self._processes[0].tail()}')

    def _wait(self, what: str, happened: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                raise BenchmarkError(f'waited {PATIENCE:g} s for {what}, in vain; the policy '
                                     f"node's last words: {self._processes[0].tail()}")
            for process in self._processes:
                process.check()
            serve(self._executor, _LOOK_PERIOD)
