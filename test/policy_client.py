"""The other side of the policy node: a robot with faults on demand, and an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import pytest
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from tiny_bundle import DEFAULT_POSE, JOINTS

PATIENCE = 20.0  # s
SENSOR_PERIOD = 0.005  # s
ORDER = ('calf', 'hip', 'thigh')  # of the commands, on purpose not the policy's
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
BASE_PARAMETERS = {
    'command_joint_names': '[calf, hip, thigh]', 'topics.command': 'commands',
    'limits.position_lower': '[-1.0]', 'limits.position_upper': '[1.0]',
    'limits.max_step': '[0.2]', 'ramp_duration': '0.2', 'joint_timeout': '0.5',
    'imu_timeout': '0.5', 'cmd_vel_timeout': '0.3'}


def environment(domain: int) -> dict[str, str]:
    """Return the environment of a node that talks to this domain and this machine alone."""
    return {**os.environ, 'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'PYTHONPATH': os.pathsep.join([str(Path(__file__).parents[1]),
                                           os.environ.get('PYTHONPATH', '')])}


class PolicyProcess:
    """The policy node, as a user starts it."""

    def __init__(self, domain: int, parameters: dict[str, str]) -> None:
        arguments = [word for name, value in parameters.items()
                     for word in ('-p', f'{name}:={value}')]
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'sim2real_policy.policy_node', '--ros-args', *arguments],
            env=environment(domain), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True)

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; return exit code and output."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            output, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
        return self.process.returncode, output


class Client(Node):
    """
    Publishes sensors at 200 Hz from its own thread and keeps what comes back.

    ``joints`` and ``imu`` may be replaced by a function that spoils a message, or by None,
    which stops that topic. ``commands`` holds (steady-clock time [s], values).
    """

    def __init__(self, context: rclpy.Context, command_type: Any) -> None:
        super().__init__('robot', context=context)
        self.joints: Callable[[JointState], JointState] | None = lambda message: message
        self.imu: Callable[[Imu], Imu] | None = lambda message: message
        self.velocity: tuple[float, float, float] | None = None
        self.measured = dict(zip(JOINTS, DEFAULT_POSE, strict=True))
        self.commands: list[tuple[float, Any]] = []
        self.states: list[str] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._joint_publisher = self.create_publisher(JointState, 'joint_states', 10)
        self._imu_publisher = self.create_publisher(Imu, 'imu/data', 10)
        self._velocity_publisher = self.create_publisher(Twist, 'cmd_vel', 10)
        self.create_subscription(
            command_type, 'commands',
            lambda message: self.commands.append((time.monotonic(), message)), 100)
        self.create_subscription(
            DiagnosticStatus, 'policy_node/state',
            lambda message: self.states.append(message.message),
            QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.create_subscription(DiagnosticArray, '/diagnostics', self._keep_diagnostics, 10)
        self._change_state = self.create_client(ChangeState, 'policy_node/change_state')
        self.create_timer(SENSOR_PERIOD, self.publish_sensors)

    def _keep_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            self.diagnostics[status.name] = {item.key: item.value for item in status.values}

    def publish_sensors(self) -> None:
        stamp = self.get_clock().now().to_msg()
        if self.joints is not None:
            message = JointState(name=list(reversed(JOINTS)))
            message.header.stamp = stamp
            message.position = [self.measured[name] for name in message.name]
            message.velocity = [0.0] * len(message.name)
            self._joint_publisher.publish(self.joints(message))
        if self.imu is not None:
            imu = Imu()
            imu.header.stamp = stamp
            imu.header.frame_id = 'imu_link'
            imu.orientation.w = 1.0
            self._imu_publisher.publish(self.imu(imu))
        if self.velocity is not None:
            twist = Twist()
            twist.linear.x, twist.linear.y, twist.angular.z = self.velocity
            self._velocity_publisher.publish(twist)

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        """Wait for a condition; the executor runs in another thread."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline, f'{what} did not happen; states: {self.states}'
            time.sleep(0.002)

    def call(self, client: Any, request: Any) -> Any:
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(request)
        self.wait(future.done, f'an answer of {client.srv_name}')
        return future.result()

    def transition(self, number: int) -> bool:
        """Ask for a lifecycle transition; return whether it worked."""
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(self.call(self._change_state, request).success)

    def trigger(self, name: str) -> Trigger.Response:
        """Call a service of the policy node such as ``estop``."""
        client = self.create_client(Trigger, f'policy_node/{name}')
        return self.call(client, Trigger.Request())

    def set_parameter(self, name: str, value: Any) -> Any:
        client = self.create_client(SetParameters, 'policy_node/set_parameters')
        request = SetParameters.Request(parameters=[Parameter(name, value=value)
                                                    .to_parameter_msg()])
        return self.call(client, request).results[0]

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ''

    @property
    def last_values(self) -> dict[str, float]:
        """Return the newest Float64MultiArray command by joint name."""
        return dict(zip(ORDER, self.commands[-1][1].data, strict=True))

    def wait_for_state(self, start: str) -> None:
        self.wait(lambda: self.state.startswith(start), f'the state {start}')

    def wait_for_commands(self, count: int = 5) -> None:
        """Wait until so many more commands have come."""
        goal = len(self.commands) + count
        self.wait(lambda: len(self.commands) >= goal, f'{count} more commands')

    def start(self) -> None:
        """Configure, activate, and wait until the policy runs."""
        assert self.transition(CONFIGURE), self.states
        assert self.transition(ACTIVATE)
        self.wait_for_state('RUN')


@contextmanager
def client_of(domain: int, command_type: Any = Float64MultiArray) -> Iterator[Client]:
    """Run a client, with its executor in a thread."""
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    client = Client(context, command_type)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(client)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.02)
    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield client
    finally:
        stop.set()
        thread.join()
        executor.shutdown()
        client.destroy_node()
        rclpy.shutdown(context=context)


@contextmanager
def policy_and_client(domain: int, bundle: Path, command_type: Any = Float64MultiArray,
                      **parameters: str) -> Iterator[tuple[PolicyProcess, Client]]:
    """Run the policy node and a client; a node that does not end in order fails the test."""
    chosen = {**BASE_PARAMETERS, 'policy': str(bundle),
              **{name.replace('__', '.'): value for name, value in parameters.items()}}
    process = PolicyProcess(domain, chosen)
    try:
        with client_of(domain, command_type) as client:
            yield process, client
    finally:
        code, output = process.end()
    if code != 0:
        pytest.fail(f'the policy node ended with {code}:\n{output}')
