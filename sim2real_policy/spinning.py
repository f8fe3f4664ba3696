"""The main thread: an executor, and signals that end it in order."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from types import FrameType

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

SWITCH_INTERVAL = 1e-4  # s; Python's own 5 ms would let another thread delay a tick that long
ONE_REQUEST = 1.0  # s
_PROBE_PERIOD = 0.001  # s
_PROBE_PATIENCE = 1.0  # s
_SLICE = 1e6  # s; a finite time, because the unbounded spin of some builds never returns
_SECOND_SIGNAL_EXIT_CODE = 130


def events_executor_works() -> bool:
    """
    Tell whether rclpy's EventsExecutor is there and runs a timer.

    It takes half the time of the SingleThreadedExecutor per message, but is missing in Humble
    and was seen to run no callback in some builds (docs/performance.md).
    """
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return False
    context = rclpy.Context()
    context.init()
    try:
        node = Node('executor_probe', context=context, enable_rosout=False,
                    start_parameter_services=False, use_global_arguments=False)
        fired = Future()
        executor = EventsExecutor(context=context)
        executor.add_node(node)
        node.create_timer(_PROBE_PERIOD, lambda: fired.set_result(True))
        executor.spin_until_future_complete(fired, timeout_sec=_PROBE_PATIENCE)
        works = fired.done()
        executor.remove_node(node)
        node.destroy_node()
        executor.shutdown()
    finally:
        context.shutdown()
    return works


def make_executor() -> Executor:
    """Return the fastest executor that works here, for the default context."""
    if events_executor_works():
        from rclpy.experimental import EventsExecutor
        return EventsExecutor()
    return SingleThreadedExecutor()


class StopRequest:
    """
    Becomes done at SIGINT, SIGTERM or SIGHUP; a later signal ends the process at once.

    rclpy's own handlers would invalidate the context first, and the safe command could no
    longer be sent. A terminal, launch and systemd may each send a signal of their own for one
    and the same Ctrl-C: what follows within :data:`ONE_REQUEST` is part of the first request.
    """

    def __init__(self) -> None:
        """Take over the signals; SIGHUP only where nobody (nohup) has it ignored."""
        self.future: Future = Future()
        self._requested_at = math.inf
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._requested_at > ONE_REQUEST:
            os._exit(_SECOND_SIGNAL_EXIT_CODE)
        if not self.future.done():
            self._requested_at = now
            self.future.set_result(number)


def spin_until_stopped(node: Node, stop: StopRequest) -> None:
    """
    Serve the node's callbacks until a signal arrives.

    :param node: it needs a timer of its own, so that a signal is noticed between two messages.
    :param stop: the signals.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    executor = make_executor()
    executor.add_node(node)
    try:
        while not stop.future.done():
            executor.spin_until_future_complete(stop.future, timeout_sec=_SLICE)
    finally:
        executor.remove_node(node)
        executor.shutdown()
