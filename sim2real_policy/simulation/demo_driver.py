"""
The operator of the demo: brings the policy node up, commands velocities, watches, judges.

It talks to the robot and to the policy node through ROS 2 alone, as a person with a joystick
and ``ros2 lifecycle`` would.
"""

from __future__ import annotations

from collections.abc import Callable
import math
from pathlib import Path
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.errors import PolicyError
from sim2real_policy.rotations import gravity_in_base, tilt_of
from sim2real_policy.simulation.demo_plan import (
    complaints,
    DemoRecord,
    judge_phases,
    phase_at,
    TOTAL_DURATION,
)
from sim2real_policy.simulation.demo_report import BagMessage, format_table, save_bag, save_picture
from sim2real_policy.spinning import make_executor, StopRequest
from std_msgs.msg import Float64MultiArray
from tqdm import tqdm

COMMAND_PERIOD = 0.05  # s
START_PATIENCE = 30.0  # s
RAMP_PATIENCE = 15.0  # s
SENSOR_QOS = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)


class DemoError(PolicyError):
    """Raised when the demo cannot be brought to its end."""


class DemoDriver(Node):
    """Everything that the operator sees and does."""

    def __init__(self) -> None:
        """Listen to the robot and to the policy node."""
        super().__init__('demo_driver')
        policy = self.declare_parameter('policy_node', 'policy_node').value
        self.out = Path(self.declare_parameter('out', 'out').value)
        self.record = DemoRecord()
        self.messages: list[BagMessage] = []
        self.types: dict[str, str] = {}
        self.phase = ''
        self.state = ''
        self.started_at: float | None = None
        self._commands = self.create_publisher(Twist, 'cmd_vel', 1)
        self._change_state = self.create_client(ChangeState, f'{policy}/change_state')
        command_topic = self.declare_parameter(
            'command_topic', 'joint_position_controller/commands').value
        self._listen(JointState, 'joint_states', SENSOR_QOS)
        self._listen(Imu, 'imu/data', SENSOR_QOS)
        self._listen(Twist, 'cmd_vel', SENSOR_QOS)
        self._listen(Float64MultiArray, command_topic, SENSOR_QOS)
        self._listen(Odometry, 'odom', SENSOR_QOS, self._on_odometry)
        self._listen(DiagnosticArray, '/diagnostics', SENSOR_QOS, self._on_diagnostics)
        self._listen(DiagnosticStatus, f'{policy}/state', LATCHED_QOS, self._on_state)
        self._listen(DiagnosticStatus, 'sim_robot/status', LATCHED_QOS, self._on_robot_status)

    def _listen(self, kind: Any, topic: str, qos: QoSProfile,
                handle: Callable[[Any], None] | None = None) -> None:
        """Keep every message for the bag, and look into it where that is asked for."""
        def take(raw: bytes) -> None:
            self.messages.append((name, time.time_ns(), raw))
            if handle is not None:
                handle(deserialize_message(raw, kind))
        name = self.create_subscription(kind, topic, take, qos, raw=True).topic_name
        package, _, message = kind.__module__.partition('.msg')[0], '', kind.__name__
        self.types[name] = f'{package}/msg/{message}'

    def _on_odometry(self, message: Odometry) -> None:
        if self.started_at is None:
            return
        q, twist = message.pose.pose.orientation, message.twist.twist
        gravity_z = gravity_in_base(q.x, q.y, q.z, q.w)[2]
        self.record.velocity.append((
            time.monotonic() - self.started_at, twist.linear.x, twist.linear.y,
            twist.angular.z, math.degrees(tilt_of(gravity_z))))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': run'):
                self.record.run = {item.key: item.value for item in status.values}

    def _on_state(self, message: DiagnosticStatus) -> None:
        self.state = next((item.value for item in message.values if item.key == 'phase'), '')
        if self.state == 'FAULT':
            self.record.faults.append(message.message)

    def _on_robot_status(self, message: DiagnosticStatus) -> None:
        if message.level == DiagnosticStatus.ERROR:
            self.record.falls += 1

    def command(self) -> float:
        """Publish the velocity of the moment; return the time since the first phase [s]."""
        elapsed = 0.0 if self.started_at is None else time.monotonic() - self.started_at
        phase = phase_at(elapsed)
        if phase.name != self.phase and self.started_at is not None:
            self.get_logger().info(f'{phase.name}: {phase.command}')
        self.phase = phase.name
        message = Twist()
        message.linear.x, message.linear.y, message.angular.z = phase.command
        self._commands.publish(message)
        return elapsed

    def ready(self) -> bool:
        """Tell whether both nodes are there."""
        return bool(self._change_state.service_is_ready()
                    and self.count_publishers('joint_states'))

    def request(self, transition: int) -> Future:
        """
        Ask the policy node for a transition.

        :param transition: a constant of lifecycle_msgs/Transition.
        """
        return self._change_state.call_async(
            ChangeState.Request(transition=Transition(id=transition)))


class Demo:
    """The course of the demo, step by step."""

    def __init__(self, driver: DemoDriver, stop: StopRequest, quiet: bool = False) -> None:
        """
        Note whom to drive.

        :param driver: the operator's node.
        :param stop: ends the demo early.
        :param quiet: show no progress bar.
        """
        self._driver = driver
        self._stop = stop
        self._quiet = quiet
        self._executor: Executor = make_executor()
        self._executor.add_node(driver)

    def run(self) -> int:
        """
        Do everything; return the exit code.

        :raises DemoError: if a step does not come to its end.
        """
        driver = self._driver
        self._wait('both nodes', driver.ready, START_PATIENCE)
        self._transition(Transition.TRANSITION_CONFIGURE, 'configure')
        self._transition(Transition.TRANSITION_ACTIVATE, 'activate')
        self._wait('the end of the ramp', lambda: driver.state in ('RUN', 'FAULT'), RAMP_PATIENCE)
        self._walk()
        self._transition(Transition.TRANSITION_DEACTIVATE, 'deactivate')
        self._wait('the statistics of the run', lambda: bool(driver.record.run), RAMP_PATIENCE)
        return self._report()

    def _walk(self) -> None:
        driver = self._driver
        driver.started_at = time.monotonic()
        with tqdm(total=TOTAL_DURATION, disable=self._quiet,
                  bar_format='{desc:<10}|{bar}| {n:.0f}/{total:.0f} s') as bar:
            def advance() -> bool:
                elapsed = driver.command()
                bar.set_description_str(driver.phase, refresh=False)
                bar.update(min(elapsed, TOTAL_DURATION) - bar.n)
                return elapsed >= TOTAL_DURATION or bool(driver.record.faults)
            if not self._quiet:  # the bar tells the phases
                driver.get_logger().set_level(LoggingSeverity.WARN)
            self._wait('the end of the walk', advance, TOTAL_DURATION + START_PATIENCE)

    def _report(self) -> int:
        driver = self._driver
        results = judge_phases(driver.record)
        driver.out.mkdir(parents=True, exist_ok=True)
        save_picture(driver.record, driver.out / 'demo.png')
        save_bag(driver.messages, driver.types, driver.out / 'demo_bag')
        wrong = complaints(driver.record, results)
        sys.stdout.write(f'\n{format_table(driver.record, results)}\n\n'
                         f'picture {driver.out / "demo.png"}, bag {driver.out / "demo_bag"}\n')
        sys.stdout.write('\n'.join(wrong) + '\n' if wrong
                         else 'PASS: the robot did what was asked\n')
        return 1 if wrong else 0

    def _transition(self, transition: int, name: str) -> None:
        answer = self._driver.request(transition)
        self._wait(f"the transition '{name}'", answer.done, START_PATIENCE)
        if not answer.result().success:
            raise DemoError(f'the policy node refused to {name}; it says: {self._driver.state} '
                            '(see its log and ~/state for the reason)')

    def _wait(self, what: str, happened: Callable[[], bool], patience: float) -> None:
        """Serve callbacks until something happened, looking at every command period."""
        done: Future = Future()

        def look() -> None:
            if not done.done() and (happened() or self._stop.future.done()):
                done.set_result(True)
        timer = self._driver.create_timer(COMMAND_PERIOD, look,
                                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._executor.spin_until_future_complete(done, timeout_sec=patience)
        self._driver.destroy_timer(timer)
        if self._stop.future.done():
            raise DemoError('stopped by a signal')
        if not done.done():
            raise DemoError(f'waited {patience:g} s for {what}, in vain; see the logs of the '
                            'simulated robot and the policy node')

    def close(self) -> None:
        """Let go of the executor."""
        self._executor.remove_node(self._driver)
        self._executor.shutdown()


def drive(args: list[str] | None = None, quiet: bool = False) -> int:
    """
    Drive a robot and a policy node that run already.

    :param args: command line; ROS arguments are taken from it.
    :param quiet: show no progress bar.
    :returns: exit code: 0 where the robot did what was asked, 1 where not, 2 where the demo
        could not be brought to its end.
    """
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = StopRequest()
    driver = DemoDriver()
    demo = Demo(driver, stop, quiet)
    try:
        return demo.run()
    except PolicyError as error:
        sys.stderr.write(f'demo: {error}\n')
        return 2
    finally:
        demo.close()
        driver.destroy_node()
        rclpy.try_shutdown()


def main() -> int:
    """Run the operator alone, as the launch file does."""
    return drive(quiet=not sys.stderr.isatty())


if __name__ == '__main__':
    sys.exit(main())
