"""The robot's side of a measurement: sensor messages in time, and who answered them when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import sys
import threading
import time
from typing import Any

from rclpy.task import Future
from sensor_msgs.msg import JointState
from sim2real_policy.offline.benchmark_processes import BenchmarkError
from sim2real_policy.offline.benchmark_robot import QOS, set_stamp, StandingRobot
from sim2real_policy.pacing import DeadlinePacer, sharpen_timers
from sim2real_policy.spinning import SWITCH_INTERVAL
from std_msgs.msg import Float64MultiArray

LOST_AFTER_NS = 10**9
_STOP_PATIENCE = 5.0  # s
_START_PATIENCE = 60.0  # s
_START_POLL = 0.05  # s


@dataclass
class Record:
    """
    What came of the requests to one peer.

    ``latencies_ns``: from just before the request was published to just after the answer was
    taken. ``skipped``: requests not made, because the one before was unanswered; ``lost``: those
    that were given up.
    """

    latencies_ns: list[int] = field(default_factory=list)
    skipped: int = 0
    lost: int = 0


class Peer:
    """
    Somebody who gets sensor messages and sends commands.

    At most one request is on its way, which keeps answers and requests together. ``record``
    takes what comes of them, while there is one.
    """

    def __init__(self, node: Any, robot: StandingRobot, prefix: str) -> None:
        """
        Make publishers and subscription.

        :param node: of this process.
        :param robot: its messages.
        :param prefix: put before the names of all topics.
        """
        self.prefix = prefix
        self.record: Record | None = None
        self.answers = 0
        self._sent_ns = 0
        self._joint_state = robot.joint_state
        self._publish = node.create_publisher(
            JointState, f'{prefix}/joint_states', QOS).publish
        self._others = [
            (node.create_publisher(type(message), f'{prefix}/{name}', QOS).publish, message)
            for name, message in robot.others.items()]
        node.create_subscription(Float64MultiArray, f'{prefix}/commands', self._take, QOS,
                                 raw=True)

    def _take(self, raw: bytes) -> None:
        now = time.perf_counter_ns()
        self.answers += 1
        if self._sent_ns and self.record is not None:
            self.record.latencies_ns.append(now - self._sent_ns)
        self._sent_ns = 0

    def send_others(self) -> None:
        """Publish everything but the joint states."""
        now_ns = time.time_ns()
        for publish, message in self._others:
            set_stamp(message, now_ns)
            publish(message)

    def send_joint_states(self) -> None:
        """Publish the joint states, whatever became of the ones before."""
        set_stamp(self._joint_state, time.time_ns())
        self._publish(self._joint_state)

    def request(self) -> None:
        """Publish the joint states as a request, unless one is on its way."""
        if self._sent_ns:
            lost = time.perf_counter_ns() - self._sent_ns >= LOST_AFTER_NS
            if self.record is not None:
                self.record.lost += lost
                self.record.skipped += not lost
            if not lost:
                return
        set_stamp(self._joint_state, time.time_ns())
        self._sent_ns = time.perf_counter_ns()
        self._publish(self._joint_state)


class Stream:
    """A thread that does a few things by turns, each at the same rate, until it is left."""

    def __init__(self, turns: Sequence[Callable[[], None]], rate: float) -> None:
        """
        Prepare it.

        :param turns: what to do, evenly spread over a period.
        :param rate: how often each is done [Hz].
        """
        self.rate = rate
        self._turns = turns
        self._failure: Exception | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='stream', daemon=True)

    def __enter__(self) -> Stream:
        """Start."""
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Stop."""
        self._stopping = True
        self._thread.join(_STOP_PATIENCE)
        sys.setswitchinterval(self._switch_interval)

    def check(self) -> None:
        """
        Look whether it runs.

        :raises BenchmarkError: if it failed.
        """
        if self._failure is not None:
            raise BenchmarkError(f'the sensor messages ended: {self._failure}')

    def _run(self) -> None:
        sharpen_timers()
        try:
            while not self._stopping:
                rate = self.rate
                pacer = DeadlinePacer(1.0 / (rate * len(self._turns)))
                while rate == self.rate and not self._stopping:
                    for turn in self._turns:
                        pacer.wait()
                        turn()
        except Exception as error:  # noqa: BLE001  handed to the thread that measures
            self._failure = error


def serve(executor: Any, duration: float) -> None:
    """
    Serve callbacks for a time.

    :param executor: of this process.
    :param duration: how long [s].
    """
    executor.spin_until_future_complete(Future(), timeout_sec=duration)


def serve_until_answered(executor: Any, peer: Peer) -> None:
    """
    Serve callbacks until somebody has answered: his process needs a while to start.

    :param executor: of the node that publishes.
    :param peer: who is waited for.
    :raises BenchmarkError: if he never does.
    """
    deadline = time.monotonic() + _START_PATIENCE
    while not peer.answers:
        if time.monotonic() > deadline:
            raise BenchmarkError(f'waited {_START_PATIENCE:g} s for an answer on '
                                 f'{peer.prefix}/commands, in vain. Does this computer let '
                                 'processes talk over DDS?')
        serve(executor, _START_POLL)
