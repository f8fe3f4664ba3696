"""Messages carry the reading in the message's joint order, in the frames of REP 103 and 145."""

from __future__ import annotations

import numpy as np
import pytest
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.sensor_model import SensorSettings

pytest.importorskip('rclpy')

from sim2real_policy.simulation.robot_messages import ImuMessage, JointStateMessage


def reading(stamp_ns: int = 0) -> Reading:
    values = Reading(2)
    values.joint_position[:] = 1.0, 2.0
    values.joint_velocity[:] = 3.0, 4.0
    values.joint_effort[:] = 5.0, 6.0
    values.orientation[:] = 0.1, 0.2, 0.3, 0.9
    values.angular_velocity[:] = 7.0, 8.0, 9.0
    values.linear_acceleration[:] = 0.0, 0.0, 9.81
    values.stamp_ns = stamp_ns
    return values


def test_joint_states_are_in_the_order_of_the_message() -> None:
    message = JointStateMessage(('a', 'b'), ('b', 'a')).fill(reading())
    assert message.name == ['b', 'a']
    assert list(message.position) == [2.0, 1.0]
    assert list(message.velocity) == [4.0, 3.0]
    assert list(message.effort) == [6.0, 5.0]


def test_the_message_is_filled_again_and_not_a_copy() -> None:
    builder = JointStateMessage(('a', 'b'), ('b', 'a'))
    first = builder.fill(reading())
    later = reading()
    later.joint_position[:] = 0.25, 0.5
    assert builder.fill(later) is first
    assert list(first.position) == [0.5, 0.25]


def test_stamps_are_split_into_seconds_and_nanoseconds() -> None:
    stamp = ImuMessage(SensorSettings()).fill(reading(stamp_ns=3_000_000_007)).header.stamp
    assert (stamp.sec, stamp.nanosec) == (3, 7)


def test_imu_is_in_its_own_frame_with_x_y_z_w() -> None:
    message = ImuMessage(SensorSettings()).fill(reading())
    assert message.header.frame_id == 'imu_link'
    orientation, rate = message.orientation, message.angular_velocity
    assert [orientation.x, orientation.y, orientation.z, orientation.w] == [0.1, 0.2, 0.3, 0.9]
    assert [rate.x, rate.y, rate.z] == [7.0, 8.0, 9.0]
    assert message.linear_acceleration.z == 9.81


def test_covariances_are_unknown_without_noise_and_the_variance_with_it() -> None:
    quiet = ImuMessage(SensorSettings()).message
    for covariance in (quiet.orientation_covariance, quiet.angular_velocity_covariance,
                       quiet.linear_acceleration_covariance):
        np.testing.assert_array_equal(covariance, np.zeros(9))
    noisy = ImuMessage(SensorSettings(orientation=0.1, angular_velocity=0.5)).message
    np.testing.assert_allclose(
        noisy.orientation_covariance.reshape(3, 3), np.diag([0.01, 0.01, 0.01]))
    np.testing.assert_allclose(
        noisy.angular_velocity_covariance.reshape(3, 3), np.diag([0.25, 0.25, 0.25]))
