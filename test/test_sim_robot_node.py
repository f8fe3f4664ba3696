"""The simulated robot's node over real DDS: what it publishes, obeys, drops, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import signal
import subprocess
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('mujoco')

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import DescribeParameters, ListParameters
from sensor_msgs.msg import JointState
from sim2real_policy.simulation.robot_model import find_start_pose
from sim_robot_client import Client, DOMAINS, end, PATIENCE, robot, start
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

PERIOD_NS = 5_000_000
ROS_PARAMETERS = ('use_sim_time', 'start_type_description_service')
FOLDED = {'hip': 0.75, 'thigh': 1.4, 'calf': -2.65}


@pytest.fixture(scope='module', autouse=True)
def localhost() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield


@pytest.fixture(scope='module')
def running(localhost: None) -> Iterator[Client]:
    with robot('shared', 'publish_clock:=true') as (client, _):
        yield client


@pytest.fixture
def client(running: Client) -> Client:
    """Put the robot back and return its client."""
    assert running.call(Trigger, 'sim_robot/reset').success
    return running


def start_pose(joint: str) -> float:
    return find_start_pose('stand').joint_position(joint)


def folded(joint: str) -> float:
    kind = joint.split('_')[1]
    return FOLDED[kind] * (-1.0 if kind == 'hip' and joint[1] == 'R' else 1.0)


def test_joint_states_speak_in_the_shuffled_order_that_the_node_tells(client: Client) -> None:
    message = client.next('joint_states')
    assert list(message.name) == client.order()
    assert len(set(message.name)) == 12
    assert message.name[:3] != ['FL_hip_joint', 'FL_thigh_joint', 'FL_calf_joint']
    assert len(message.position) == len(message.velocity) == len(message.effort) == 12
    for name, position in zip(message.name, message.position, strict=True):
        assert position == pytest.approx(start_pose(name), abs=0.06), name


def stamp(message: Any) -> int:
    return int(message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec)


def test_every_5_ms_of_simulated_time_one_message_is_sent(client: Client) -> None:
    client.next('joint_states', 100)
    stamps = [stamp(message) for message in client.seen['joint_states']]
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    assert all(step > 0 and step % PERIOD_NS == 0 for step in steps)
    assert sorted(steps)[len(steps) // 2] == PERIOD_NS


def test_the_clock_is_the_time_of_the_stamps(client: Client) -> None:
    clock = client.next('/clock').clock
    time_ns = clock.sec * 1_000_000_000 + clock.nanosec
    assert time_ns % PERIOD_NS == 0

    def reached() -> bool:
        return stamp(client.newest('joint_states')) >= time_ns
    client.wait(reached, 'a message of that time')  # what was under way may be older
    later = stamp(client.newest('joint_states'))

    def passed() -> bool:
        newest = client.newest('/clock').clock
        return newest.sec * 1_000_000_000 + newest.nanosec >= later
    client.wait(passed, 'the clock at the time of that message')
    assert later < time_ns + 60 * 1_000_000_000  # the same clock, not that of the system


def test_the_imu_at_rest(client: Client) -> None:
    message = client.next('imu/data')
    assert message.header.frame_id == 'imu_link'
    assert message.linear_acceleration.z == pytest.approx(9.81, abs=0.3)
    assert message.orientation.w == pytest.approx(1.0, abs=0.01)
    assert message.angular_velocity.z == pytest.approx(0.0, abs=0.05)
    for covariance in (message.orientation_covariance, message.angular_velocity_covariance,
                       message.linear_acceleration_covariance):
        assert list(covariance) == [0.0] * 9


def test_odometry_tells_the_truth(client: Client) -> None:
    message = client.next('odom')
    assert (message.header.frame_id, message.child_frame_id) == ('odom', 'base_link')
    assert message.pose.pose.position.z == pytest.approx(0.30, abs=0.01)
    assert message.twist.twist.linear.x == pytest.approx(0.0, abs=0.05)


def test_a_command_in_the_told_order_moves_the_joint_it_means(client: Client) -> None:
    order = client.order()
    targets = [start_pose(name) for name in order]
    targets[order.index('FL_calf_joint')] -= 0.8
    client.send_until(Float64MultiArray(data=targets),
                      lambda: client.joints()['FL_calf_joint'] < -2.0, 'the calf to move')
    assert client.joints()['FL_hip_joint'] == pytest.approx(0.05, abs=0.3)


@pytest.mark.parametrize('data', [
    [0.4] * 11, [0.4] * 13, [], [float('nan')] + [0.4] * 11, [0.4] * 11 + [float('inf')]])
def test_a_malformed_command_is_counted_and_changes_nothing(
        client: Client, data: list[float]) -> None:
    client.next('/diagnostics')
    before = int(client.report('commands rejected'))
    client.send_until(Float64MultiArray(data=data),
                      lambda: int(client.report('commands rejected')) > before, 'the rejection')
    for name, position in client.joints().items():
        assert position == pytest.approx(start_pose(name), abs=0.06), name


def test_a_fall_is_reported_once_and_reset_puts_the_robot_back(client: Client) -> None:
    client.next('/diagnostics')
    falls = int(client.report('falls'))
    client.wait(lambda: client.newest('sim_robot/status').message == 'standing', 'standing')
    client.send_until(Float64MultiArray(data=[folded(name) for name in client.order()]),
                      lambda: client.newest('sim_robot/status').message == 'fallen', 'the fall')
    assert client.newest('sim_robot/status').level == DiagnosticStatus.ERROR
    client.next('/diagnostics', 2)
    assert int(client.report('falls')) == falls + 1
    assert client.call(Trigger, 'sim_robot/reset').success
    client.wait(lambda: client.newest('sim_robot/status').message == 'standing', 'standing again')
    assert client.joints()['FL_calf_joint'] == pytest.approx(-1.5, abs=0.06)


def test_diagnostics_tell_how_the_simulation_is_doing(client: Client) -> None:
    client.next('/diagnostics')
    status = client.newest('/diagnostics').status[0]
    assert status.name == 'sim_robot: simulation'
    assert float(client.report('real-time factor')) > 0.0
    assert client.report('FL foot') == 'on the floor'
    assert float(client.report('largest tilt [deg]')) < 60.0


def test_every_parameter_is_described_and_read_only(client: Client) -> None:
    listed = client.call(ListParameters, 'sim_robot/list_parameters').result.names
    ours = [name for name in listed if name not in ROS_PARAMETERS]
    assert {'publish_rate', 'speed', 'joint_names', 'sensor_loss', 'seed'} <= set(ours)
    described = client.call(
        DescribeParameters, 'sim_robot/describe_parameters', names=ours).descriptors
    assert not [item.name for item in described if not item.description or not item.read_only]


def other_command(interface: str, names: list[str], positions: list[float]) -> Any:
    if interface == 'joint_state':
        return JointState(name=names, position=positions)
    return JointTrajectory(joint_names=names, points=[JointTrajectoryPoint(positions=positions)])


@pytest.mark.parametrize('interface', ['joint_state', 'joint_trajectory'])
def test_the_other_command_interfaces(interface: str) -> None:
    with robot(interface, 'shuffle_joints:=false', interface=interface) as (client, _):
        names = client.order()
        assert names[:3] == ['FL_hip_joint', 'FL_thigh_joint', 'FL_calf_joint']
        targets = [start_pose(name) - (0.8 if name == 'FL_calf_joint' else 0.0) for name in names]
        client.send_until(other_command(interface, names[:-1], targets[:-1]),
                          lambda: client.report('commands rejected') != '0', 'the rejection')
        assert client.joints()['FL_calf_joint'] == pytest.approx(-1.5, abs=0.06)
        client.send_until(other_command(interface, names[::-1], targets[::-1]),
                          lambda: client.joints()['FL_calf_joint'] < -2.0, 'the calf to move')


def test_lost_sensors_are_silent_while_the_truth_goes_on() -> None:
    with robot('lossy', 'sensor_loss:=1.0', 'publish_rate:=100.0') as (client, _):
        client.next('odom', 50)
        assert client.seen['joint_states'] == []
        assert client.seen['imu/data'] == []


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_exit_code_0(number: signal.Signals) -> None:
    with robot('lossy', 'start_pose:=lie') as (client, process):
        client.wait(lambda: client.newest('sim_robot/status').message == 'lying', 'the pose')
        assert end(process, number) == 0


@pytest.mark.parametrize(('parameter', 'words'), [
    ('publish_rate:=200', "a floating point number needs its point ('200.0'"),
    ('publish_rate:=150.0', 'not a whole number of microseconds'),
    ('speed:=0.0', 'speed out of range'),
    ('sensor_loss:=1.5', 'sensor_loss out of range'),
    ('start_pose:=stant', "did you mean 'stand'"),
    ('command_interface:=joint_states', "did you mean 'joint_state'"),
    ('joint_names:=[a]', 'cannot be set')])
def test_a_wrong_parameter_is_one_sentence_and_exit_code_2(parameter: str, words: str) -> None:
    process = start(DOMAINS['lossy'], parameter, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert words in said
    assert said.count('\n') == 1
    assert 'Traceback' not in said
