# mypy: allow-untyped-calls
"""Starts the simulated robot's node in a process of its own and talks to it over DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.simulation.command_decoder import DEFAULT_TOPICS, message_type

DOMAINS = {'shared': 83, 'joint_state': 84, 'joint_trajectory': 85, 'lossy': 86}
PATIENCE = 30.0


def start(domain: int, *parameters: str, **options: Any) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[1]
    paths = [str(root), os.environ.get('PYTHONPATH', '')]
    environment = os.environ | {
        'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'PYTHONPATH': os.pathsep.join(path for path in paths if path)}
    arguments = [word for parameter in parameters for word in ('-p', parameter)]
    return subprocess.Popen(
        [sys.executable, '-m', 'sim2real_policy.simulation.sim_robot_node', '--ros-args',
         *arguments], env=environment, text=True, **options)


class Client:
    """Keeps the newest messages of the robot and waits for what is to come."""

    def __init__(self, domain: int, interface: str) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('client', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.seen: dict[str, list[Any]] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic, kind, qos in (
                ('joint_states', JointState, 100), ('imu/data', Imu, qos_profile_sensor_data),
                ('odom', Odometry, 10), ('/clock', Clock, 10),
                ('/diagnostics', DiagnosticArray, 5),
                ('sim_robot/status', DiagnosticStatus, latched)):
            self.seen[topic] = []
            self.node.create_subscription(kind, topic, self.seen[topic].append, qos)
        self.commands = self.node.create_publisher(
            message_type(interface), DEFAULT_TOPICS[interface], 1)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            result = condition()
            if result:
                return result
            self.executor.spin_once(timeout_sec=0.05)
        raise AssertionError(f'waited {PATIENCE:.0f} s in vain for {what}')

    def newest(self, topic: str) -> Any:
        self.wait(lambda: self.seen[topic], topic)
        return self.seen[topic][-1]

    def next(self, topic: str, count: int = 1) -> Any:
        self.seen[topic].clear()
        self.wait(lambda: len(self.seen[topic]) >= count, f'{count} x {topic}')
        return self.seen[topic][-1]

    def call(self, kind: Any, name: str, **request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, name)
        future = client.call_async(kind.Request(**request))
        self.wait(future.done, f'the answer of {name}')
        self.node.destroy_client(client)
        return future.result()

    def order(self) -> list[str]:
        answer = self.call(GetParameters, 'sim_robot/get_parameters', names=['joint_names'])
        return list(answer.values[0].string_array_value)

    def joints(self) -> dict[str, float]:
        message = self.next('joint_states', 2)
        return dict(zip(message.name, message.position, strict=True))

    def report(self, key: str) -> str:
        message = self.newest('/diagnostics')
        return str(next(item.value for item in message.status[0].values if item.key == key))

    def send_until(self, message: Any, condition: Callable[[], Any], what: str) -> None:
        """Send again and again, since the first one may come before the node listens."""
        def sent() -> Any:
            self.commands.publish(message)
            return condition()
        self.wait(sent, what)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@contextlib.contextmanager
def robot(domain: str, *parameters: str,
          interface: str = 'float64_multi_array') -> Iterator[tuple[Client, Any]]:
    """Run a node, and a client of it."""
    process = start(DOMAINS[domain], *parameters, f'command_interface:={interface}')
    client = Client(DOMAINS[domain], interface)
    try:
        client.newest('odom')
        yield client, process
    finally:
        client.close()
        process.kill()
        process.wait(PATIENCE)


def end(process: subprocess.Popen[str], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(PATIENCE)
