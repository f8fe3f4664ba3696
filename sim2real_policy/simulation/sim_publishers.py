# mypy: allow-untyped-calls
"""Everything that the simulated robot publishes at the pace of the physics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.robot_messages import (
    ImuMessage,
    JointStateMessage,
    OdometryMessage,
    set_stamp,
)
from sim2real_policy.simulation.sensor_model import SensorModel
from sim2real_policy.simulation.sim_status import robot_status, status_key
from sim2real_policy.simulation.simulated_robot import SimulatedRobot


class SimPublishers:
    """
    Publish what the sensors give, the truth, the status and, if asked, the clock.

    Joint states go out reliable and IMU data best effort, as drivers usually send them.
    """

    def __init__(self, node: Node, robot: SimulatedRobot, sensors: SensorModel,
                 joint_order: Sequence[str], publish_clock: bool) -> None:
        """
        Create the publishers.

        :param node: owns them.
        :param robot: its truth and status are published.
        :param sensors: what the readings go through.
        :param joint_order: the joints in the order of ``joint_states``.
        :param publish_clock: whether to publish ``/clock``.
        """
        self._robot = robot
        self._name = node.get_name()
        self._sensors = sensors
        self._joint_state = JointStateMessage(robot.joint_names, joint_order)
        self._imu = ImuMessage(sensors.settings)
        self._odometry = OdometryMessage()
        self._clock = Clock()
        self._last_status: Any = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._send_joints = node.create_publisher(JointState, 'joint_states', 10).publish
        self._send_imu = node.create_publisher(
            Imu, 'imu/data', qos_profile_sensor_data).publish
        self._send_odometry = node.create_publisher(Odometry, 'odom', 10).publish
        self._send_status = node.create_publisher(DiagnosticStatus, '~/status', latched).publish
        self._send_clock = (node.create_publisher(Clock, '/clock', 1).publish
                            if publish_clock else None)

    def publish(self, truth: Reading) -> None:
        """
        Publish one period; only the thread that steps the robot may call this.

        :param truth: the true reading, with its stamp.
        """
        if self._send_clock is not None:
            set_stamp(self._clock.clock, truth.stamp_ns)
            self._send_clock(self._clock)
        measured = self._sensors.measure(truth)
        if measured is not None:
            if not self._sensors.is_lost():
                self._send_joints(self._joint_state.fill(measured))
            if not self._sensors.is_lost():
                self._send_imu(self._imu.fill(measured))
        self._send_odometry(self._odometry.fill(self._robot, truth.stamp_ns))
        status = status_key(self._robot)
        if status != self._last_status:
            self._last_status = status
            self._send_status(robot_status(self._robot, self._name))
