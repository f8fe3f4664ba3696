"""The newest message of each input: put here by the main thread, taken by the control thread."""

from __future__ import annotations

from collections.abc import Sequence
import time
from typing import Any

from sim2real_policy.contract import PolicyContract
from sim2real_policy.decoding import (
    decode_odometry,
    ImuDecoder,
    JointStateDecoder,
    velocity_command,
)
from sim2real_policy.diagnostics import RateCounter
from sim2real_policy.state import NO_COMMAND, RobotState, VelocityCommand

Sample = tuple[bytes, float]  # the serialized message and its steady-clock arrival [s]


class Inbox:
    """
    Holds one sample per input; a new one replaces the old one whole.

    The ``put_*`` methods belong to the thread of the subscriptions, :meth:`collect` to the one
    that runs the policy. Swapping a reference is atomic, so neither ever waits for the other.
    """

    def __init__(self, contract: PolicyContract, imu_in_base_xyzw: Sequence[float]) -> None:
        """
        Make the decoders.

        :param contract: what the policy reads.
        :param imu_in_base_xyzw: orientation of the IMU frame in the base frame.
        """
        self._contract = contract
        self._imu_in_base_xyzw = imu_in_base_xyzw
        self.joint_decoder = JointStateDecoder(contract)
        self.imu_decoder = ImuDecoder(imu_in_base_xyzw)
        self.rates = {name: RateCounter()
                      for name in ('joint_states', 'imu', 'odometry', 'cmd_vel')}
        self.rejected_commands = 0
        self._joint_rate, self._imu_rate = self.rates['joint_states'], self.rates['imu']
        self.forget()

    def forget(self) -> None:
        """Drop every sample and the velocity command."""
        self.joint_sample: Sample | None = None
        self.imu_sample: Sample | None = None
        self.odometry_sample: Sample | None = None
        self.command: VelocityCommand = NO_COMMAND
        self._seen: list[Sample | None] = [None, None, None]

    def put_joint_state(self, raw: bytes) -> None:
        """Take a serialized sensor_msgs/JointState."""
        self.joint_sample = (raw, time.monotonic())
        self._joint_rate.count += 1

    def put_imu(self, raw: bytes) -> None:
        """Take a serialized sensor_msgs/Imu."""
        self.imu_sample = (raw, time.monotonic())
        self._imu_rate.count += 1

    def put_odometry(self, raw: bytes) -> None:
        """Take a serialized nav_msgs/Odometry."""
        self.odometry_sample = (raw, time.monotonic())
        self.rates['odometry'].count += 1

    def put_command(self, message: Any) -> None:
        """Take a geometry_msgs/Twist or TwistStamped; one that is not finite is dropped."""
        self.rates['cmd_vel'].count += 1
        command = velocity_command(message, time.monotonic())
        if command is None:
            self.rejected_commands += 1
        else:
            self.command = command

    def collect(self, state: RobotState) -> None:
        """
        Decode what is new into the state.

        :param state: written input by input, each whole or not at all.
        """
        joints, imu, odometry = self.joint_sample, self.imu_sample, self.odometry_sample
        seen = self._seen
        if joints is not None and joints is not seen[0]:
            self.joint_decoder.decode(*joints, state)
        if imu is not None and imu is not seen[1]:
            self.imu_decoder.decode(*imu, state)
        if odometry is not None and odometry is not seen[2]:
            decode_odometry(*odometry, state)
        self._seen = [joints, imu, odometry]

    def copy(self) -> Inbox:
        """Return an empty inbox with decoders of its own."""
        return Inbox(self._contract, self._imu_in_base_xyzw)

    def imitate(self, other: Inbox) -> None:
        """
        Take over the samples of another inbox.

        :param other: the one that the subscriptions fill.
        """
        self.joint_sample = other.joint_sample
        self.imu_sample = other.imu_sample
        self.odometry_sample = other.odometry_sample
