"""
A process that ticks when told to, and tells how late each tick began.

``pacer BUNDLE`` ticks in a thread beside the executor, as the policy node does; ``timer BUNDLE``
in a timer of rclpy's SingleThreadedExecutor. Both also take joint states. A line ``RATE TICKS``
is answered by a line of JSON; the process ends with its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import gc
import json
import os
from pathlib import Path
import signal
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import JointState
from sim2real_policy.bundle import load_bundle
from sim2real_policy.control_loop import REHEARSAL_LEAD
from sim2real_policy.offline.benchmark_robot import QOS
from sim2real_policy.offline.benchmark_tick import BenchmarkTick
from sim2real_policy.pacing import DeadlinePacer, sharpen_timers
from sim2real_policy.policy_node import SUPERVISION_PERIOD
from sim2real_policy.spinning import spin_until_stopped, StopRequest

_NANOSECONDS = 1e9
_PATIENCE = 30.0  # s
_Answer = tuple[list[int], int]


def _requests() -> Iterator[tuple[float, int]]:
    for line in sys.stdin:
        rate, ticks = line.split()
        yield float(rate), int(ticks)


def _answer(lateness_ns: list[int], missed: int) -> None:
    sys.stdout.write(json.dumps({'lateness_ns': lateness_ns, 'missed': missed}) + '\n')
    sys.stdout.flush()


def paced_ticks(rehearse: Callable[[], None], work: Callable[[float], None], rate: float,
                ticks: int) -> _Answer:
    """
    Tick as the control thread of the policy node does.

    :param rehearse: done shortly before each tick, where there is time for it.
    :param work: done at each tick; gets the time [s].
    :param rate: of the ticks [Hz].
    :param ticks: how many.
    :returns: lateness of each [ns], and how many deadlines were missed.
    """
    pacer = DeadlinePacer(1.0 / rate)
    lateness = []
    for _ in range(ticks):
        if pacer.doze(REHEARSAL_LEAD):
            rehearse()
        now = pacer.wait()
        lateness.append(int(pacer.lateness * _NANOSECONDS))
        work(now)
    return lateness, pacer.missed


class TimedTicks:
    """Ticks of a timer of rclpy, which stands on a grid of deadlines as well."""

    def __init__(self, work: Callable[[float], None], period_ns: int, ticks: int) -> None:
        """
        Prepare them.

        :param work: done at each tick; gets the time [s].
        :param period_ns: of the timer [ns].
        :param ticks: how many.
        """
        self.done: Future = Future()
        self.first_ns = 0
        self._work = work
        self._period_ns = period_ns
        self._ticks = ticks
        self._woken_ns: list[int] = []

    def on_timer(self) -> None:
        """Take the time, then work."""
        now = time.monotonic_ns()
        if len(self._woken_ns) == self._ticks:
            return
        self._woken_ns.append(now)
        self._work(now / _NANOSECONDS)
        if len(self._woken_ns) == self._ticks:
            self.done.set_result(True)

    def answer(self) -> _Answer:
        """Return lateness of each [ns], and how many deadlines had no tick."""
        late = [now - self.first_ns for now in self._woken_ns]
        # The grid is known to some microseconds only; a tick a bit before it belongs to it.
        slots = [round(time_ns / self._period_ns) if time_ns % self._period_ns
                 > self._period_ns * 0.98 else time_ns // self._period_ns for time_ns in late]
        missed = slots[-1] + 1 - len(set(slots))
        return [time_ns - slot * self._period_ns
                for time_ns, slot in zip(late, slots, strict=True)], missed


class _Work:
    """A whole tick, with the measurements that it needs."""

    def __init__(self, folder: str, node: Any) -> None:
        self._tick = BenchmarkTick(load_bundle(Path(folder)), node)
        self.rehearse = self._tick.rehearse
        gc.collect()
        gc.freeze()

    def do(self, now: float) -> None:
        self._tick.receive()
        self._tick.tick(now)


def _run_timer(node: Any, folder: str) -> None:
    work = _Work(folder, node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    for rate, ticks in _requests():
        timed = TimedTicks(work.do, int(_NANOSECONDS / rate), ticks)
        timer = node.create_timer(1.0 / rate, timed.on_timer)
        before = time.monotonic_ns()
        until = timer.time_until_next_call()
        timed.first_ns = (before + time.monotonic_ns()) // 2 + until
        executor.spin_until_future_complete(timed.done, timeout_sec=_PATIENCE + ticks / rate)
        node.destroy_timer(timer)
        _answer(*timed.answer())
    executor.shutdown()


def _run_pacer(node: Any, folder: str) -> None:
    stop = StopRequest()

    def run() -> None:
        sharpen_timers()
        try:
            # Here, because a network may belong to the thread that loaded it.
            work = _Work(folder, node)
            for rate, ticks in _requests():
                _answer(*paced_ticks(work.rehearse, work.do, rate, ticks))
        finally:
            os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=run, name='control')
    # As in the policy node, where it also lets the executor notice a signal.
    node.create_timer(SUPERVISION_PERIOD, lambda: None)
    thread.start()
    spin_until_stopped(node, stop)
    thread.join()


def main(arguments: Sequence[str]) -> int:
    """
    Run until the input ends.

    :param arguments: ``pacer`` or ``timer``, and the bundle.
    :returns: the exit code.
    """
    kind, folder = arguments
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f'benchmark_{kind}')
    node.create_subscription(JointState, f'lateness_{kind}', lambda raw: None, QOS, raw=True)
    (_run_timer if kind == 'timer' else _run_pacer)(node, folder)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
