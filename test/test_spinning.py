"""The executor is one that works here, and signals end it in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from policy_client import environment
from sim2real_policy.spinning import events_executor_works

PROGRAM = """
import rclpy, sys
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sim2real_policy import spinning
if sys.argv[1] == 'single':
    spinning.events_executor_works = lambda: False
rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
stop = spinning.StopRequest()
node = Node('spinner')
node.create_timer(0.02, lambda: print('tick', flush=True))
spinning.spin_until_stopped(node, stop)
node.get_logger().info('can still speak')
print('in order', flush=True)
if sys.argv[2] == 'stuck':
    while True:
        pass
"""


def start(executor: str, end: str = 'clean') -> subprocess.Popen[str]:
    """Run a node that ticks, and wait for its first tick."""
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAM, executor, end], env=environment(71), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == 'tick\n'
    return process


@pytest.mark.ros
@pytest.mark.parametrize('executor', ['fastest', 'single'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_spinning_with_the_context_alive(executor: str, number: int) -> None:
    """After the signal the node can still publish: the safe command depends on it."""
    process = start(executor)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.endswith('in order\n')
    assert 'can still speak' in errors


@pytest.mark.ros
def test_a_second_signal_ends_at_once() -> None:
    """Whoever presses Ctrl-C again, after a second, does not want to wait."""
    process = start('fastest', 'stuck')
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while process.stdout.readline() not in ('in order\n', ''):
        pass
    deadline = time.monotonic() + 20.0
    while process.poll() is None:
        assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert process.returncode == 130


@pytest.mark.ros
def test_one_ctrl_c_may_arrive_as_several_signals() -> None:
    """Terminal, launch and systemd each pass it on: together they are one request."""
    process = start('fastest')
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.endswith('in order\n')


@pytest.mark.ros
def test_the_probe_answers_and_leaves_nothing_behind() -> None:
    """It may be asked again and again."""
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    assert events_executor_works() == events_executor_works()
