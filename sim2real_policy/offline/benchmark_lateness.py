"""How late a tick begins: our control thread against a timer of rclpy, with the same work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from sim2real_policy.bundle import Bundle
from sim2real_policy.offline.benchmark_processes import BenchmarkError, Process
from sim2real_policy.offline.benchmark_report import summarise
from sim2real_policy.offline.benchmark_robot import QOS, StandingRobot
from sim2real_policy.offline.benchmark_stream import Stream
from tqdm import tqdm

WORKER = 'sim2real_policy.offline.benchmark_ticker'
VARIANTS = {'deadline_pacer': 'pacer', 'rclpy_timer': 'timer'}
RATES = (50, 200, 500)  # Hz
SENSOR_RATE = 200  # Hz
_BLOCK = 0.5  # s


class _Feed:
    """Joint states for the one whose turn it is; the other one shall disturb nobody."""

    def __init__(self, node: Any, robot: StandingRobot) -> None:
        self._message = robot.joint_state
        self._publishers = {name: node.create_publisher(JointState, f'lateness_{kind}', QOS)
                            for name, kind in VARIANTS.items()}
        self.name = next(iter(VARIANTS))

    def send(self) -> None:
        self._publishers[self.name].publish(self._message)


def measure(bundle: Bundle, seconds: float, folder: Path) -> dict[str, Any]:
    """
    Measure by turns, in blocks of half a second.

    :param bundle: the policy, whose tick is the work.
    :param seconds: about how long.
    :param folder: for logs.
    :returns: per rate the summary of both, what they missed, and the ratios.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('benchmark_feed')
    feed = _Feed(node, StandingRobot(bundle.contract))
    bundle_folder = str(bundle.folder.resolve())
    try:
        with Process(WORKER, ['pacer', bundle_folder], folder / 'pacer.log', True) as pacer, \
                Process(WORKER, ['timer', bundle_folder], folder / 'timer.log', True) as timer, \
                Stream([feed.send], SENSOR_RATE) as stream:
            return _measure(dict(zip(VARIANTS, (pacer, timer), strict=True)), feed, stream,
                            seconds)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _measure(processes: dict[str, Process], feed: _Feed, stream: Stream, seconds: float) \
        -> dict[str, Any]:
    block = min(_BLOCK, seconds / (len(RATES) * len(VARIANTS)))
    rounds = max(1, round(seconds / (block * len(RATES) * len(VARIANTS))))
    lateness: dict[int, dict[str, list[int]]] = {
        rate: {name: [] for name in VARIANTS} for rate in RATES}
    missed = {rate: dict.fromkeys(VARIANTS, 0) for rate in RATES}
    for _ in tqdm(range(rounds), 'lateness', disable=None):
        for rate in RATES:
            for name, process in processes.items():
                feed.name = name
                answer = process.ask(str(rate), str(max(2, round(block * rate))))
                stream.check()
                lateness[rate][name] += answer['lateness_ns']
                missed[rate][name] += answer['missed']
    return {str(rate): _summary(lateness[rate], missed[rate]) for rate in RATES}


def _summary(lateness: dict[str, list[int]], missed: dict[str, int]) -> dict[str, Any]:
    ours, timer = (summarise(lateness[name]) for name in VARIANTS)
    if not timer['p50_us'] > 0.0:
        raise BenchmarkError('the timer of rclpy came before its time, so nothing can be '
                             'compared with it; please report this with the version of rclpy')
    return {'deadline_pacer': {**ours, 'missed': missed['deadline_pacer']},
            'rclpy_timer': {**timer, 'missed': missed['rclpy_timer']},
            'ratio_p50': ours['p50_us'] / timer['p50_us'],
            'ratio_p99': ours['p99_us'] / timer['p99_us'],
            'ratio_p99_to_timer_p50': ours['p99_us'] / timer['p50_us']}
