# mypy: allow-untyped-calls
"""
The simulated robot as a ROS 2 node: joint commands in; joint states, IMU and odometry out.

It stands for any robot behind the usual interfaces, and knows nothing of policies. Until the
first command, and after ``~/reset``, it holds its start pose.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import gc
import signal
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import rclpy
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined, unused-ignore]
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args, try_shutdown
from sim2real_policy.errors import PolicyError
from sim2real_policy.simulation.command_decoder import message_type, read_command
from sim2real_policy.simulation.pacing import PacedThread
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.sensor_model import SensorModel
from sim2real_policy.simulation.sim_parameters import (
    declare_joint_names,
    declare_parameters,
    shuffled,
)
from sim2real_policy.simulation.sim_publishers import SimPublishers
from sim2real_policy.simulation.sim_status import diagnostics, SimCounts
from sim2real_policy.simulation.simulated_robot import SimulatedRobot
from std_srvs.srv import Trigger

NODE_NAME = 'sim_robot'
STARTED, FAILED, MISUSED = 0, 1, 2
EXECUTOR_WAIT = 0.1
DIAGNOSTICS_PERIOD = 1.0
WARNING_PERIOD = 2.0


class SimRobotNode(Node):
    """
    Steps the physics in a thread of its own and publishes what the robot senses.

    The executor's thread only takes commands and resets; it and the physics share one lock.
    """

    def __init__(self) -> None:
        """
        Build the robot and its topics; :meth:`start` lets time pass.

        :raises ConfigError: if a parameter is of the wrong type, out of range or unknown.
        :raises MissingDependencyError: if MuJoCo is not installed.
        """
        super().__init__(NODE_NAME)
        self._choices = declare_parameters(self)
        self._robot = SimulatedRobot(self._choices.start_pose, self._choices.timestep)
        names = self._robot.joint_names
        self.joint_order = (shuffled(names, self._choices.seed)
                            if self._choices.shuffle_joints else names)
        declare_joint_names(self, self.joint_order)
        self._sensors = SensorModel(
            self._choices.sensors, len(names), self._choices.period_us * 1e-6,
            self._choices.seed)
        self._truth = Reading(len(names))
        self._lock = threading.Lock()
        self._ticks = 0
        self._received = 0
        self._rejected = 0
        self._command_at: float | None = None
        self._reported = (time.monotonic(), 0)
        self._output = SimPublishers(
            self, self._robot, self._sensors, self.joint_order, self._choices.publish_clock)
        self._create_interfaces()
        self._physics = PacedThread(
            self._tick, round(self._choices.period_us * 1000 / self._choices.speed),
            'physics')

    @property
    def failure(self) -> Exception | None:
        """What ended the physics thread, if anything did."""
        return self._physics.failure

    def start(self) -> None:
        """Let time pass, from now on."""
        choices = self._choices
        self.get_logger().info(
            f'joint order: {list(self.joint_order)}; commands on '
            f"'{self._commands.topic_name}' ({choices.command_interface}); holding the pose "
            f"'{choices.start_pose}' until the first one")
        if abs(self._sensors.delay - choices.sensors.delay) > 1e-9:
            self.get_logger().warning(
                f'sensor_delay {choices.sensors.delay:g} s is rounded to '
                f'{self._sensors.delay:g} s, whole publishing periods')
        self._reported = (time.monotonic(), self._ticks)
        self._physics.start()

    def stop(self) -> None:
        """Let no more time pass."""
        self._physics.stop()

    def _create_interfaces(self) -> None:
        self._commands = self.create_subscription(
            message_type(self._choices.command_interface), self._choices.command_topic,
            self._on_command, 1)
        self._report = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_timer(DIAGNOSTICS_PERIOD, self._on_diagnostics,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        """Let one publishing period pass and publish; runs in the physics thread."""
        with self._lock:
            fell = self._robot.step(self._choices.steps)
            self._ticks += 1
            self._truth.stamp_ns = self._stamp()
            self._robot.read(self._truth)
            self._output.publish(self._truth)
        if fell:
            self.get_logger().error(
                f'the robot fell (tilt {self._robot.tilt:.0f} deg); call '
                f"'{self.get_fully_qualified_name()}/reset' to put it back")

    def _stamp(self) -> int:
        if self._choices.publish_clock:
            return self._ticks * self._choices.period_us * 1000
        return time.time_ns()

    def _on_command(self, message: Any) -> None:
        try:
            names, positions = read_command(
                self._choices.command_interface, message, self.joint_order)
            with self._lock:
                self._robot.set_joint_targets(positions, names)
        except PolicyError as error:
            self._rejected += 1
            self.get_logger().warning(f'joint command dropped: {error}',
                                      throttle_duration_sec=WARNING_PERIOD)
            return
        self._received += 1
        self._command_at = time.monotonic()

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._robot.reset()
            self._sensors.restart()
        response.success = True
        response.message = (f"put back into the pose '{self._choices.start_pose}', which it "
                            'holds until the next command')
        return response

    def _on_diagnostics(self) -> None:
        now = time.monotonic()
        then, ticks = self._reported
        with self._lock:
            self._reported = (now, self._ticks)
            simulated = (self._ticks - ticks) * self._choices.period_us * 1e-6
            counts = SimCounts(
                speed=self._choices.speed,
                real_time_factor=simulated / (now - then),
                skipped=self._physics.skipped,
                received=self._received, rejected=self._rejected,
                command_age=None if self._command_at is None else now - self._command_at)
            message = diagnostics(self._robot, self.get_name(), counts,
                                  self.get_clock().now().to_msg())
        self._report.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the simulated robot until SIGINT or SIGTERM.

    :param args: command line, ``sys.argv`` if left out.
    :returns: exit code: 0 after a signal, 1 after a failure, 2 after a user's mistake.
    """
    argv = sys.argv if args is None else list(args)
    parser = argparse.ArgumentParser(
        prog='sim_robot_node', description='A simulated robot; set it up with ROS parameters, '
        "such as '--ros-args -p publish_rate:=200.0'.")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # noqa: BLE001 - rclpy has no common base for bad arguments
        return _refuse(error)
    try:
        parser.parse_args(remove_ros_args(argv)[1:])
        node = SimRobotNode()
        return _run(node, stopping)
    except PolicyError as error:
        return _refuse(error)
    finally:
        try_shutdown()


def _run(node: SimRobotNode, stopping: threading.Event) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    gc.collect()
    gc.freeze()
    node.start()
    try:
        while not stopping.is_set() and node.failure is None:
            executor.spin_once(timeout_sec=EXECUTOR_WAIT)
    finally:
        node.stop()
        executor.shutdown()
    if node.failure is not None:
        node.get_logger().fatal(f'the physics stopped: {node.failure!r}')
    node.destroy_node()
    return STARTED if node.failure is None else FAILED


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"sim_robot_node: {' '.join(str(error).split())}\n")
    return MISUSED


if __name__ == '__main__':
    sys.exit(main())
