"""A control loop on the test bench: a real network, no ROS graph, inputs by hand."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.bundle import Bundle
from sim2real_policy.command_output import CommandOutput
from sim2real_policy.control_loop import Cast, ControlLoop
from sim2real_policy.inbox import Inbox
from sim2real_policy.inference import make_runner, PolicyRunner
from sim2real_policy.limits import JointLimits
from sim2real_policy.messages import make_command_writer
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline
from sim2real_policy.rehearsal import Rehearsal
from sim2real_policy.safety import Phase
from tiny_bundle import DEFAULT_POSE, JOINTS, PERIOD

PATIENCE = 10.0  # s
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


class Recorder:
    """Stands for a ROS publisher: keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[list[float]] = []

    def publish(self, message: Any) -> None:
        self.sent.append(list(message.position))


class Obstacle:
    """A runner whose ``run`` first does what the test wants."""

    def __init__(self, runner: PolicyRunner) -> None:
        self.name = 'obstacle'
        self.input, self.output = runner.input, runner.output
        self.before: Callable[[], None] = lambda: None
        self.closed_by: int | None = None
        self.made_by = threading.get_ident()
        self.reset, self._run = runner.reset, runner.run

    def run(self) -> None:
        self.before()
        self._run()

    def close(self) -> None:
        self.closed_by = threading.get_ident()


class Bench:
    """A loop with an inbox that a test fills by hand."""

    def __init__(self, bundle: Bundle, triggered: bool = False, rehearsal: bool = False) -> None:
        contract = bundle.contract
        self.settings = PipelineSettings(
            MonitorSettings(joint_timeout=60.0, imu_timeout=60.0, odometry_timeout=60.0,
                            max_tilt=1.0, max_rejected=2),
            JointLimits(np.full(3, -1.0), np.full(3, 1.0), np.full(3, 0.2), 0.1), 0.1, 0.5)
        self.publisher = Recorder()
        self.inbox = Inbox(contract, UPRIGHT)
        writer = make_command_writer('joint_state', contract.action_joints, (), PERIOD)
        self.output = CommandOutput(self.publisher, writer, time.time_ns)
        self.runner: Obstacle
        self.bundle = bundle
        self.rehearsal = rehearsal
        self.loop = ControlLoop(self.build, self.inbox, self.output, PERIOD, triggered, PATIENCE,
                                time.time_ns)

    def build(self) -> Cast:
        self.runner = Obstacle(make_runner('auto', self.bundle))
        pipeline = PolicyPipeline(self.bundle.contract, self.runner, self.settings)
        rehearsal = Rehearsal(self.bundle, self.runner, self.settings, self.inbox) \
            if self.rehearsal else None
        return Cast(self.runner, pipeline, rehearsal)

    def feed(self, *position: float) -> None:
        joints = JointState(name=list(JOINTS), position=position or DEFAULT_POSE,
                            velocity=[0.0] * 3)
        joints.header.stamp.sec, joints.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        imu = Imu(header=joints.header)
        imu.orientation.w = 1.0
        self.inbox.put_imu(bytes(serialize_message(imu)))
        self.inbox.put_joint_state(bytes(serialize_message(joints)))

    def wait(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def run(self) -> None:
        """Start, activate, and wait for RUN."""
        self.loop.start()
        self.loop.activate()
        self.feed()
        self.wait(lambda: self.phase is Phase.RUN)

    @property
    def phase(self) -> Phase:
        return self.loop.pipeline.safety.phase
