"""The robot's whole tick around a runner, with measurements that are always good."""

from __future__ import annotations

from typing import Any

import numpy as np
from sim2real_policy.bundle import Bundle
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline
from sim2real_policy.state import VelocityCommand

RAMP = 0.1  # s


class Robot:
    """A pipeline and a clock; each tick comes 20 ms after the one before."""

    def __init__(self, bundle: Bundle, runner: Any) -> None:
        joints = len(bundle.contract.action_joints)
        limits = JointLimits(np.full(joints, -9.0), np.full(joints, 9.0), np.full(joints, 9.0),
                             0.1)
        monitor = MonitorSettings(joint_timeout=0.1, imu_timeout=0.1, odometry_timeout=0.1,
                                  max_tilt=1.0, max_rejected=2)
        self.pipeline = PolicyPipeline(bundle.contract, runner, PipelineSettings(
            monitor=monitor, limits=limits, ramp_duration=RAMP, command_timeout=0.5))
        self.now = 100.0
        self._numbers = np.random.default_rng(3)
        self.pipeline.activate()
        for _ in range(round(RAMP / 0.02) + 5):
            self.tick()

    def tick(self) -> Any:
        """Return the joint targets after new measurements, shape (12,) [rad]."""
        self.now += 0.02
        state = self.pipeline.state
        state.joint_position[:] = self._numbers.normal(0.0, 0.3, len(state.joint_position))
        state.joint_velocity[:] = self._numbers.normal(0.0, 1.0, len(state.joint_velocity))
        state.angular_velocity[:] = self._numbers.normal(0.0, 0.5, 3)
        state.gravity[:] = 0.0, 0.0, -1.0
        stamp = int(self.now * 1e9)
        for reception in (state.joints, state.imu, state.odometry):
            reception.accept(self.now, stamp)
        command = self.pipeline.step(VelocityCommand(0.5, 0.0, 0.1, self.now), self.now)
        assert command is not None
        return np.array(command.position)
