"""Serialized messages become robot state: by name, whole or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from geometry_msgs.msg import Twist, TwistStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.contract import load_contract, PolicyContract
from sim2real_policy.decoding import (
    decode_odometry,
    ImuDecoder,
    JointStateDecoder,
    velocity_command,
)
from sim2real_policy.state import NEVER, RobotState
from tiny_bundle import JOINTS, make_tiny_bundle

UPRIGHT = (0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope='module')
def contract(tmp_path_factory: pytest.TempPathFactory) -> PolicyContract:
    """Return a policy that reads positions of hip, thigh, calf."""
    return load_contract(make_tiny_bundle(
        tmp_path_factory.mktemp('policy') / 'bundle') / 'contract.yaml')


@pytest.fixture
def decoder(contract: PolicyContract) -> JointStateDecoder:
    """Return a decoder that has seen nothing."""
    return JointStateDecoder(contract)


def joint_state(seconds: int = 1, **changes: object) -> JointState:
    """Return a message with more joints than the policy has, in another order."""
    message = JointState(**{
        'name': ['arm', 'calf', 'hip', 'thigh'], 'position': [9.0, 3.0, 1.0, 2.0],
        'velocity': [9.0, 0.3, 0.1, 0.2], 'effort': [], **changes})
    message.header.stamp.sec = seconds
    message.header.frame_id = 'base'
    return message


def raw(message: object) -> bytes:
    """Serialize as the middleware does."""
    return bytes(serialize_message(message))


def test_joints_are_matched_by_name(decoder: JointStateDecoder) -> None:
    """The message's own order does not matter, and foreign joints are passed over."""
    state = RobotState(len(JOINTS))
    decoder.decode(raw(joint_state()), 5.0, state)
    assert state.joint_position.tolist() == [1.0, 2.0, 3.0]
    assert state.joints.received_at == 5.0
    assert state.joints.stamp_ns == 10**9
    assert state.joints.reason is None


def test_later_messages_take_the_fast_way_with_the_same_result(
        decoder: JointStateDecoder) -> None:
    """One full deserialization, then raw decoding; the values are those of the message."""
    state = RobotState(len(JOINTS))
    for seconds in range(1, 6):
        message = joint_state(seconds, position=[9.0, 3.0 * seconds, 1.0 * seconds, 0.5])
        decoder.decode(raw(message), 0.0, state)
        assert state.joint_position.tolist() == [seconds, 0.5, 3.0 * seconds]
    assert decoder.typed == 1


def test_a_change_of_order_is_followed(decoder: JointStateDecoder) -> None:
    """Joints reordered between two messages: the map is made anew, nothing is mixed up."""
    state = RobotState(len(JOINTS))
    decoder.decode(raw(joint_state(1)), 0.0, state)
    decoder.decode(raw(joint_state(2, name=['hip', 'thigh', 'calf', 'arm'],
                                   position=[1.0, 2.0, 3.0, 9.0])), 0.0, state)
    assert state.joint_position.tolist() == [1.0, 2.0, 3.0]
    assert decoder.typed == 2


def test_rubbish_between_the_values_is_passed_over(decoder: JointStateDecoder) -> None:
    """Serializers leave what they like in the padding; it decides nothing."""
    state = RobotState(len(JOINTS))
    data = raw(joint_state(1))
    text = data.index(b'base\x00')
    padding = slice(text + 5, text + 8)  # up to the next multiple of four
    decoder.decode(data, 0.0, state)
    for seconds, filler in ((2, b'\x00\x00\x00'), (3, b'\xff\xfe\xfd')):
        later = bytearray(raw(joint_state(seconds, position=[9.0, 3.0, 1.0 * seconds, 2.0])))
        later[padding] = filler
        decoder.decode(bytes(later), 0.0, state)
        assert state.joint_position[0] == seconds
    assert decoder.typed == 1


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(['hip', 'thigh', 'calf', 'arm', 'wheel']),
       frame=st.text(alphabet='ab_/é', max_size=9), velocity=st.booleans(), effort=st.booleans())
def test_raw_and_typed_decoding_agree(contract: PolicyContract, order: list[str], frame: str,
                                      velocity: bool, effort: bool) -> None:
    """Whatever names, frame and arrays a driver sends, both ways give the same state."""
    decoder, slow, fast = JointStateDecoder(contract), RobotState(3), RobotState(3)
    for seconds in (1, 2):
        values = [seconds + 0.1 * index for index in range(len(order))]
        message = joint_state(seconds, name=list(order), position=values,
                              velocity=values if velocity else [],
                              effort=values if effort else [])
        message.header.frame_id = frame
        decoder.decode(raw(message), 0.0, fast)
        JointStateDecoder(contract).decode(raw(message), 0.0, slow)
        slow.joints.forget()
        assert fast.joint_position.tolist() == [values[order.index(name)] for name in JOINTS]
        assert fast.values.tolist() == slow.values.tolist()
    assert decoder.typed == 1


@pytest.mark.parametrize(('changes', 'code'), [
    ({'name': ['arm', 'calff', 'hip', 'thigh']}, 'F111'),
    ({'name': ['hip', 'calf', 'hip', 'thigh']}, 'F113'),
    ({'position': [9.0, math.nan, 1.0, 2.0]}, 'F114'),
    ({'position': [9.0, math.inf, 1.0, 2.0]}, 'F114'),
    ({'position': [9.0, 3.0, 1.0]}, 'F115'),
    ({'position': []}, 'F115'),
    ({'velocity': [0.1]}, 'F115'),
])
@pytest.mark.parametrize('before', [0, 1, 2])
def test_a_bad_message_leaves_the_state_alone(decoder: JointStateDecoder,
                                              changes: dict[str, object], code: str,
                                              before: int) -> None:
    """Refused with its code, first or after good ones; values and time stay the last good."""
    state = RobotState(len(JOINTS))
    for seconds in range(1, before + 1):
        decoder.decode(raw(joint_state(seconds)), 1.0, state)
    kept = state.values.copy()
    decoder.decode(raw(joint_state(8, **changes)), 2.0, state)
    assert state.joints.reason is not None and state.joints.reason.code == code
    assert state.joints.rejected == 1
    assert state.joints.received_at == (1.0 if before else NEVER)
    assert np.array_equal(state.values, kept)
    decoder.decode(raw(joint_state(9)), 3.0, state)
    assert state.joints.rejected == 0 and state.joints.reason is None


def test_not_a_number_in_an_unused_place_is_ignored(decoder: JointStateDecoder) -> None:
    """A NaN effort, or a NaN of a joint that the policy does not know, harms nobody."""
    state = RobotState(len(JOINTS))
    for seconds in (1, 2):
        decoder.decode(raw(joint_state(seconds, position=[math.nan, 3.0, 1.0, 2.0],
                                       effort=[math.nan] * 4)), 0.0, state)
        assert state.joint_position.tolist() == [1.0, 2.0, 3.0]


def test_huge_finite_values_are_not_called_infinite(decoder: JointStateDecoder) -> None:
    """1e300 squared overflows; it is still a finite measurement, for the limits to judge."""
    state = RobotState(len(JOINTS))
    decoder.decode(raw(joint_state(position=[9.0, 3.0, 1e300, 2.0])), 0.0, state)
    assert state.joint_position[0] == 1e300


def test_a_repeated_or_older_message_does_not_look_fresh(decoder: JointStateDecoder) -> None:
    """Equal and older stamps are dropped and counted; the age goes on growing."""
    state = RobotState(len(JOINTS))
    decoder.decode(raw(joint_state(5)), 1.0, state)
    for seconds in (5, 4):
        decoder.decode(raw(joint_state(seconds, position=[0.0] * 4)), 2.0, state)
    assert decoder.out_of_order == 2
    assert state.joints.received_at == 1.0
    assert state.joint_position.tolist() == [1.0, 2.0, 3.0]


def test_a_driver_without_stamps_is_accepted(decoder: JointStateDecoder) -> None:
    """Stamps of zero say nothing: the time of arrival decides."""
    state = RobotState(len(JOINTS))
    for now in (1.0, 2.0):
        decoder.decode(raw(joint_state(0)), now, state)
    assert state.joints.received_at == 2.0


@pytest.mark.parametrize('data', [b'', b'\x00', b'\x00\x01\x00\x00rubbish'])
def test_rubbish_is_refused(decoder: JointStateDecoder, data: bytes) -> None:
    """Bytes that are no JointState: F118 or a fault of their content, never an exception."""
    state = RobotState(len(JOINTS))
    decoder.decode(data, 0.0, state)
    ImuDecoder(UPRIGHT).decode(data, 0.0, state)
    assert state.joints.reason is not None and state.imu.reason is not None


def imu(seconds: int = 1, orientation: tuple[float, ...] = UPRIGHT,
        rates: tuple[float, ...] = (0.1, 0.2, 0.3)) -> Imu:
    """Return an IMU message."""
    message = Imu()
    message.header.stamp.sec = seconds
    message.header.frame_id = 'imu_link'
    message.orientation.x, message.orientation.y, message.orientation.z, \
        message.orientation.w = orientation
    message.angular_velocity.x, message.angular_velocity.y, message.angular_velocity.z = rates
    return message


def test_imu_gives_gravity_and_rates() -> None:
    """Upright, gravity is (0, 0, -1); rolled by +90 degrees about x it points along -y."""
    decoder, state = ImuDecoder(UPRIGHT), RobotState(3)
    decoder.decode(raw(imu(1)), 7.0, state)
    assert state.gravity.tolist() == pytest.approx([0.0, 0.0, -1.0])
    assert state.angular_velocity.tolist() == [0.1, 0.2, 0.3]
    decoder.decode(raw(imu(2, (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)))), 8.0, state)
    assert state.gravity.tolist() == pytest.approx([0.0, -1.0, 0.0])
    assert state.imu.received_at == 8.0
    assert decoder.typed == 1


def test_imu_mounted_otherwise_is_turned_into_the_base() -> None:
    """An IMU turned by 90 degrees about z: its x axis is the base's y axis."""
    decoder = ImuDecoder((0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))
    state = RobotState(3)
    decoder.decode(raw(imu(rates=(1.0, 0.0, 0.0))), 0.0, state)
    assert state.angular_velocity.tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert state.gravity.tolist() == pytest.approx([0.0, 0.0, -1.0])


@pytest.mark.parametrize(('orientation', 'rates', 'code'), [
    ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 'F116'),
    ((0.0, 0.0, 0.0, 1.2), (0.0, 0.0, 0.0), 'F116'),
    ((0.0, math.nan, 0.0, 1.0), (0.0, 0.0, 0.0), 'F114'),
    (UPRIGHT, (0.0, -math.inf, 0.0), 'F114'),
    (UPRIGHT, (math.inf, -math.inf, 0.0), 'F114'),
])
@pytest.mark.parametrize('before', [0, 1])
def test_a_bad_imu_sample_leaves_the_state_alone(
        orientation: tuple[float, ...], rates: tuple[float, ...], code: str, before: int) -> None:
    """Refused with its code, first or after a good one."""
    decoder, state = ImuDecoder(UPRIGHT), RobotState(3)
    for _ in range(before):
        decoder.decode(raw(imu(1)), 1.0, state)
    kept = state.values.copy()
    decoder.decode(raw(imu(2, orientation, rates)), 2.0, state)
    assert state.imu.reason is not None and state.imu.reason.code == code
    assert np.array_equal(state.values, kept)


def test_imu_without_orientation_is_named() -> None:
    """orientation_covariance[0] of -1 means: not provided (REP-145)."""
    decoder, state = ImuDecoder(UPRIGHT), RobotState(3)
    decoder.decode(raw(imu(1)), 1.0, state)
    message = imu(2)
    message.orientation_covariance[0] = -1.0
    decoder.decode(raw(message), 2.0, state)
    assert state.imu.reason is not None and state.imu.reason.code == 'F117'


def test_odometry_gives_the_velocity_of_the_base() -> None:
    """The twist's linear part is taken; a NaN or an older one is not."""
    state, message = RobotState(3), Odometry()
    message.header.stamp.sec = 2
    message.twist.twist.linear.x = 0.7
    decode_odometry(raw(message), 1.0, state)
    assert state.linear_velocity.tolist() == [0.7, 0.0, 0.0]
    message.header.stamp.sec = 1
    message.twist.twist.linear.x = 9.0
    decode_odometry(raw(message), 2.0, state)
    message.header.stamp.sec = 3
    message.twist.twist.linear.x = math.nan
    decode_odometry(raw(message), 3.0, state)
    assert state.linear_velocity.tolist() == [0.7, 0.0, 0.0]
    assert state.odometry.received_at == 1.0
    assert state.odometry.reason is not None and state.odometry.reason.code == 'F114'


def test_velocity_commands_stamped_or_not() -> None:
    """Both message types give the same command; one that is not finite gives none."""
    twist = Twist()
    twist.linear.x, twist.linear.y, twist.angular.z = 0.1, 0.2, 0.3
    for message in (twist, TwistStamped(twist=twist)):
        command = velocity_command(message, 4.0)
        assert command is not None
        assert (command.linear_x, command.linear_y, command.angular_z) == (0.1, 0.2, 0.3)
        assert command.received_at == 4.0
    twist.linear.y = math.nan
    assert velocity_command(twist, 4.0) is None
