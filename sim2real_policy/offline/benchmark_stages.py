"""
The stages of a tick against inference alone: in a tight loop, and paced as on the robot.

Paced, both are measured cold, and after a rehearsal as the policy node does it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import gc
from pathlib import Path
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.signals import SignalHandlerOptions
from sim2real_policy.bundle import Bundle
from sim2real_policy.control_loop import REHEARSAL_LEAD
from sim2real_policy.offline.benchmark_processes import Process
from sim2real_policy.offline.benchmark_report import summarise
from sim2real_policy.offline.benchmark_tick import BenchmarkTick, STAGES
from sim2real_policy.pacing import DeadlinePacer, sharpen_timers
from tqdm import tqdm

ECHO = 'sim2real_policy.offline.benchmark_echo'
HOT_BLOCK = 100
PACED_BLOCK = 10
PACED_RATE = 50.0  # Hz
HOT_SHARE = 0.1  # of the time; a hot tick takes a hundredth of a paced one
_HOT_BLOCK_DURATION = 0.015  # s; a guess that sets how many there are
_Ticks = list[tuple[int, ...]]


def measure(bundle: Bundle, seconds: float, folder: Path) -> dict[str, Any]:
    """
    Measure.

    :param bundle: the policy.
    :param seconds: about how long.
    :param folder: for logs.
    :returns: per pace (hot, paced, paced_rehearsed) the summary of each stage and the ratios.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('benchmark_stages')
    try:
        # A thread of its own: processes started later would inherit the main thread's timers.
        with Process(ECHO, ['sink', 'commands'], folder / 'sink.log'), \
                ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(_measure, bundle, node, seconds).result()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _measure(bundle: Bundle, node: Any, seconds: float) -> dict[str, Any]:
    sharpen_timers()
    tick = BenchmarkTick(bundle, node)
    gc.collect()
    gc.freeze()
    try:
        results = {'hot': _measure_hot(tick, seconds * HOT_SHARE),
                   **_measure_paced(tick, seconds * (1.0 - HOT_SHARE))}
        tick.check()
    finally:
        gc.unfreeze()
        tick.runner.close()
    return results


def _measure_hot(tick: BenchmarkTick, seconds: float) -> dict[str, Any]:
    """
    Do blocks by turns.

    A publish without a pause after it competes with its receiver and with what DDS does later,
    so the ticks whose computing is measured do not publish.
    """
    computing: _Ticks = []
    sending: _Ticks = []
    alone: list[int] = []
    for _ in tqdm(range(max(2, round(seconds / _HOT_BLOCK_DURATION))), 'stages, hot',
                  disable=None):
        for ticks, send in ((computing, False), (sending, True)):
            for _ in range(HOT_BLOCK):
                tick.receive()
                ticks.append(tick.tick(time.monotonic(), send))
        alone += [tick.infer() for _ in range(HOT_BLOCK)]
    return _summary(computing, sending, alone)


def _measure_paced(tick: BenchmarkTick, seconds: float) -> dict[str, Any]:
    """Tick and inference alone, cold and rehearsed, by turns, each 20 ms after the one before."""
    ticks: tuple[_Ticks, _Ticks] = ([], [])
    alone: tuple[list[int], list[int]] = ([], [])
    for _ in tqdm(range(max(2, round(seconds * PACED_RATE / (4 * PACED_BLOCK)))),
                  'stages, paced', disable=None):
        pacer = DeadlinePacer(1.0 / PACED_RATE)
        for _ in range(PACED_BLOCK):
            for rehearsed in (False, True):
                ticks[rehearsed].append(tick.tick(_wait(tick, pacer, rehearsed)))
                _wait(tick, pacer, rehearsed)
                alone[rehearsed].append(tick.infer())
    cold, warm = (_summary(some, some, floor)
                  for some, floor in zip(ticks, alone, strict=True))
    warm['ratio_compute_to_cold_inference'] = \
        warm['tick_compute']['p50_us'] / cold['inference_alone']['p50_us']
    return {'paced': cold, 'paced_rehearsed': warm}


def _wait(tick: BenchmarkTick, pacer: DeadlinePacer, rehearsed: bool) -> float:
    tick.receive()
    if rehearsed and pacer.doze(REHEARSAL_LEAD):
        tick.rehearse()
    return pacer.wait()


def _summary(computing: _Ticks, sending: _Ticks, alone: list[int]) -> dict[str, Any]:
    stages, whole = np.array(computing), np.array(sending)
    publish = STAGES.index('publish')
    result: dict[str, Any] = {
        name: summarise(column)
        for name, column in zip(STAGES[:publish], stages.T[:publish], strict=True)}
    result |= {'publish': summarise(whole[:, publish]),
               'tick_compute': summarise(stages[:, :publish].sum(axis=1)),
               'tick_with_publish': summarise(whole.sum(axis=1)),
               'inference_alone': summarise(alone)}
    floor = result['inference_alone']['p50_us']
    result['ratio_compute'] = result['tick_compute']['p50_us'] / floor
    result['ratio_with_publish'] = result['tick_with_publish']['p50_us'] / floor
    return result
