"""CPU use on the robot: the policy node at its own period against a bare echo, both fed alike."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from sim2real_policy.bundle import Bundle
from sim2real_policy.offline.benchmark_operator import Operator, start_policy_node
from sim2real_policy.offline.benchmark_processes import BenchmarkError, Process
from sim2real_policy.offline.benchmark_robot import StandingRobot
from sim2real_policy.offline.benchmark_stages import ECHO
from sim2real_policy.offline.benchmark_stream import (
    Peer,
    serve,
    serve_until_answered,
    Stream,
)
from sim2real_policy.spinning import make_executor
from tqdm import tqdm

SENSOR_RATE = 500  # Hz
POLICY, BARE_ECHO = 'cpu_policy', 'cpu_echo'
PER_CENT = 100.0
_BLOCK = 0.5  # s
_SETTLING = 1.0  # s; discovery and the first ticks are no part of it


def measure(bundle: Bundle, seconds: float, folder: Path) -> dict[str, Any]:
    """
    Measure both at the same time.

    :param bundle: the policy.
    :param seconds: about how long.
    :param folder: for logs.
    :returns: CPU use of both, their ratio, and what the policy node counted.
    :raises BenchmarkError: if the commands were not the policy's.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('benchmark_generator')
    executor = make_executor()
    executor.add_node(node)
    robot = StandingRobot(bundle.contract)
    policy, echo = Peer(node, robot, POLICY), Peer(node, robot, BARE_ECHO)
    turns = (policy.send_others, policy.send_joint_states, echo.send_others,
             echo.send_joint_states)
    topics = (f'{BARE_ECHO}/joint_states', f'{BARE_ECHO}/commands', f'{BARE_ECHO}/imu')
    try:
        with start_policy_node(bundle, 'timer', POLICY, folder / 'policy.log') as first, \
                Process(ECHO, ['echo', *topics], folder / 'echo.log') as second, \
                Stream(turns, SENSOR_RATE) as stream:
            operator = Operator(node, executor, (first, second), POLICY)
            operator.bring_up()
            serve_until_answered(executor, echo)
            serve(executor, _SETTLING)
            result = _measure((policy, echo), (first, second), executor, seconds)
            stream.check()
            operator.check()
            return {**result, 'policy_node_statistics': operator.finish()}
    finally:
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def _measure(peers: tuple[Peer, Peer], processes: tuple[Process, Process], executor: Any,
             seconds: float) -> dict[str, Any]:
    answers = [peer.answers for peer in peers]
    cpu = [process.cpu_seconds() for process in processes]
    begin = time.monotonic()
    for _ in tqdm(range(max(1, round(seconds / _BLOCK))), 'cpu', disable=None):
        serve(executor, _BLOCK)
    span = time.monotonic() - begin
    policy, echo = (
        {'per_cent': PER_CENT * (process.cpu_seconds() - used) / span,
         'messages_out': peer.answers - answered}
        for process, used, peer, answered in zip(processes, cpu, peers, answers, strict=True))
    if not policy['messages_out'] or not echo['per_cent']:
        raise BenchmarkError(f'in {span:.1f} s the policy node sent {policy["messages_out"]} '
                             f'commands and the echo used {echo["per_cent"]:.2f} % of a core; '
                             'expected more than none. Measure for longer with --seconds')
    return {'sensor_rate_hz': SENSOR_RATE, 'seconds': span, 'policy_node': policy,
            'bare_echo': echo, 'ratio': policy['per_cent'] / echo['per_cent']}
