"""
From a message in to a command out: the policy node, driven by the data, against a bare echo.

Both are processes of their own and get the same messages from this one, by turns; the answers
of both are taken in the same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from sim2real_policy.bundle import Bundle
from sim2real_policy.offline.benchmark_operator import Operator, start_policy_node
from sim2real_policy.offline.benchmark_processes import BenchmarkError, Process
from sim2real_policy.offline.benchmark_report import summarise
from sim2real_policy.offline.benchmark_robot import StandingRobot
from sim2real_policy.offline.benchmark_stages import ECHO
from sim2real_policy.offline.benchmark_stream import (
    Peer,
    Record,
    serve,
    serve_until_answered,
    Stream,
)
from sim2real_policy.spinning import make_executor
from tqdm import tqdm

RATES = (200, 500)  # Hz
POLICY, BARE_ECHO = 'latency_policy', 'latency_echo'
_BLOCK = 1.0  # s
_SETTLING = 0.1  # s; after a change of the rate


def measure(bundle: Bundle, seconds: float, folder: Path) -> dict[str, Any]:
    """
    Measure.

    :param bundle: the policy.
    :param seconds: about how long.
    :param folder: for logs.
    :returns: per rate the summaries of both, their ratios, and what the policy node counted.
    :raises BenchmarkError: if the commands were not the policy's.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('benchmark_generator')
    executor = make_executor()
    executor.add_node(node)
    robot = StandingRobot(bundle.contract)
    policy, echo = Peer(node, robot, POLICY), Peer(node, robot, BARE_ECHO)
    turns = (policy.send_others, policy.request, echo.request)
    try:
        with start_policy_node(bundle, 'joint_states', POLICY, folder / 'policy.log') as first, \
                Process(ECHO, ['echo', f'{BARE_ECHO}/joint_states', f'{BARE_ECHO}/commands'],
                        folder / 'echo.log') as second, Stream(turns, RATES[0]) as stream:
            operator = Operator(node, executor, (first, second), POLICY)
            operator.bring_up()
            serve_until_answered(executor, echo)
            return _measure(policy, echo, stream, operator, executor, seconds)
    finally:
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def _measure(policy: Peer, echo: Peer, stream: Stream, operator: Operator, executor: Any,
             seconds: float) -> dict[str, Any]:
    block = min(_BLOCK, seconds / len(RATES))
    records = {rate: (Record(), Record()) for rate in RATES}
    for _ in tqdm(range(max(1, round(seconds / (block * len(RATES))))), 'latency', disable=None):
        for rate in RATES:
            stream.rate = rate
            serve(executor, _SETTLING)
            policy.record, echo.record = records[rate]
            serve(executor, block)
            policy.record = echo.record = None
            stream.check()
            operator.check()
    answers = policy.answers
    ticks = int(operator.finish()['ticks'])
    if ticks < answers:
        raise BenchmarkError(f'{answers} commands came from {ticks} ticks of the policy; '
                             'expected one tick per command. Is another node publishing to '
                             f'{POLICY}/commands?')
    return {str(rate): _summary(*pair) for rate, pair in records.items()}


def _summary(policy: Record, echo: Record) -> dict[str, Any]:
    if not policy.latencies_ns or not echo.latencies_ns:
        raise BenchmarkError(f'the policy node answered {len(policy.latencies_ns)} times and the '
                             f'echo {len(echo.latencies_ns)} times; expected some. Does this '
                             'computer let processes talk over DDS?')
    mine, other = (
        {**summarise(record.latencies_ns), 'skipped': record.skipped, 'lost': record.lost}
        for record in (policy, echo))
    return {'policy_node': mine, 'bare_echo': other,
            'ratio_p50': mine['p50_us'] / other['p50_us'],
            'ratio_p99': mine['p99_us'] / other['p99_us']}
