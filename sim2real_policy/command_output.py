"""The one door through which commands leave; the watchdog can shut it."""

from __future__ import annotations

from collections.abc import Callable
import threading

from rclpy.publisher import Publisher
from sim2real_policy.messages import CommandWriter
from sim2real_policy.safety import SafeCommand

_LOCK_PATIENCE = 0.05  # s; a publish takes some 10 us


class CommandOutput:
    """Publishes safe commands from the control thread, or from the watchdog that took over."""

    def __init__(self, publisher: Publisher, writer: CommandWriter,
                 stamp_clock_ns: Callable[[], int]) -> None:
        """
        Start with the door open for the control thread.

        :param publisher: of the writer's message type.
        :param writer: fills the message.
        :param stamp_clock_ns: reads ROS time [ns].
        """
        self.sent = 0
        self._publisher = publisher
        self._writer = writer
        self._stamp_clock_ns = stamp_clock_ns
        self._lock = threading.Lock()
        self._taken_over = False

    def send(self, command: SafeCommand) -> bool:
        """
        Publish a command of the control thread.

        The first one after the watchdog took over is dropped: it was computed before that.

        :param command: what passed every check.
        :returns: False where it was dropped.
        """
        with self._lock:
            if self._taken_over:
                self._taken_over = False
                return False
            self._publish(command)
            return True

    def send_for_watchdog(self, command: SafeCommand) -> None:
        """
        Publish a command of the watchdog, even where the control thread hangs in a publish.

        :param command: the held pose.
        """
        locked = self._lock.acquire(timeout=_LOCK_PATIENCE)
        try:
            self._taken_over = True
            self._publish(command)
        finally:
            if locked:
                self._lock.release()

    def _publish(self, command: SafeCommand) -> None:
        self._publisher.publish(self._writer.write(command, self._stamp_clock_ns()))
        self.sent += 1
