"""Commands leave through one door, which the watchdog can take over."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from sim2real_policy.command_output import CommandOutput
from sim2real_policy.messages import make_command_writer
from sim2real_policy.safety import _KEY, Phase, SafeCommand

JOINTS = ('hip', 'calf')


class Publisher:
    """Keeps what it is given; may hang."""

    def __init__(self) -> None:
        self.sent: list[list[float]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, message: Any) -> None:
        values = list(message.position)
        self.entered.set()
        self.gate.wait(10.0)
        self.sent.append(values)


@pytest.fixture
def publisher() -> Publisher:
    """Return one that does not hang yet."""
    return Publisher()


@pytest.fixture
def output(publisher: Publisher) -> CommandOutput:
    """Return the door to it."""
    return CommandOutput(publisher, make_command_writer('joint_state', JOINTS, (), 0.02),
                         lambda: 7)


def command(value: float) -> SafeCommand:
    """Make a command as the safety module does."""
    return SafeCommand(_KEY, np.full(2, value), Phase.RUN)


def test_commands_are_sent_and_counted(output: CommandOutput, publisher: Publisher) -> None:
    """Each goes out once."""
    assert output.send(command(1.0)) and output.send(command(2.0))
    assert publisher.sent == [[1.0, 1.0], [2.0, 2.0]]
    assert output.sent == 2


def test_the_first_command_after_a_takeover_is_dropped(
        output: CommandOutput, publisher: Publisher) -> None:
    """It was computed before; those after it know of the fault."""
    output.send(command(1.0))
    output.send_for_watchdog(command(0.0))
    assert not output.send(command(2.0))
    assert output.send(command(3.0))
    assert publisher.sent == [[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]


def test_the_watchdog_gets_through_while_a_publish_hangs(
        output: CommandOutput, publisher: Publisher) -> None:
    """It waits a moment for the door, then goes past."""
    publisher.gate.clear()
    control = threading.Thread(target=output.send, args=(command(9.0),))
    control.start()
    assert publisher.entered.wait(10.0)
    publisher.entered.clear()
    watchdog = threading.Thread(target=output.send_for_watchdog, args=(command(0.0),))
    watchdog.start()
    assert publisher.entered.wait(10.0)  # while the control thread is still inside
    publisher.gate.set()
    control.join()
    watchdog.join()
    assert [0.0, 0.0] in publisher.sent
