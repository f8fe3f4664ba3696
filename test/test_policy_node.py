"""The policy node over real DDS: what a robot and an operator see of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
import signal
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from policy_client import (
    ACTIVATE,
    BASE_PARAMETERS,
    CLEANUP,
    Client,
    CONFIGURE,
    DEACTIVATE,
    policy_and_client,
    PolicyProcess,
)
from sensor_msgs.msg import Imu, JointState
from tiny_bundle import DEFAULT_POSE, JOINTS, make_tiny_bundle, SCALE
from trajectory_msgs.msg import JointTrajectory

pytestmark = pytest.mark.ros
POSE = dict(zip(JOINTS, DEFAULT_POSE, strict=True))
DOMAIN = 20  # each test adds its own number


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny policy."""
    return make_tiny_bundle(tmp_path_factory.mktemp('policy') / 'bundle')


def close(values: dict[str, float], expected: dict[str, float]) -> bool:
    """Compare joint values by name, to a microradian."""
    return values == pytest.approx(expected, abs=1e-6)


def moved(client: Client, velocity: tuple[float, float, float]) -> None:
    """Command a velocity and wait until the targets show it."""
    client.velocity = velocity
    wanted = {name: POSE[name] + SCALE * value
              for name, value in zip(JOINTS, velocity, strict=True)}
    client.wait(lambda: close(client.last_values, wanted), f'targets {wanted}')


def test_from_configure_to_run_and_ctrl_c(bundle: Path) -> None:
    """WAITING, RAMP, RUN; cmd_vel moves the targets; the last message is the measured pose."""
    with policy_and_client(DOMAIN, bundle) as (process, client):
        client.start()
        phases = [text.split(':')[0] for text in client.states]
        assert phases[-2:] == ['RAMP', 'RUN']
        moved(client, (0.4, -0.2, 0.6))
        client.measured = {'hip': 0.3, 'thigh': 0.1, 'calf': 0.5}
        client.wait_for_commands()
        code, _ = process.end(signal.SIGINT)
        assert code == 0
        client.wait(lambda: close(client.last_values, client.measured), 'the measured pose')


def test_sigterm_ends_like_ctrl_c(bundle: Path) -> None:
    """SIGTERM too leaves the safe command as the last message, and exit code 0."""
    with policy_and_client(DOMAIN + 1, bundle) as (process, client):
        client.start()
        moved(client, (0.5, 0.5, 0.5))
        assert process.end(signal.SIGTERM)[0] == 0
        client.wait(lambda: close(client.last_values, client.measured), 'the measured pose')


def test_cmd_vel_timeout_becomes_zero_velocity(bundle: Path) -> None:
    """Without a newer cmd_vel the policy is told to stand; that is no fault."""
    with policy_and_client(DOMAIN + 2, bundle) as (_, client):
        client.start()
        moved(client, (0.6, 0.0, 0.0))
        client.velocity = None
        client.wait(lambda: close(client.last_values, POSE), 'targets of velocity zero')
        assert client.state == 'RUN'


def test_targets_respect_range_and_step(bundle: Path) -> None:
    """Commands beyond training are clipped, and no target leaps by more than max_step."""
    with policy_and_client(DOMAIN + 3, bundle, limits__max_step='[0.05]',
                           limits__position_upper='[0.5]') as (_, client):
        client.start()
        client.velocity = (9.0, -9.0, 0.6)  # training saw at most 1.0
        client.wait(lambda: close(client.last_values, {
            'hip': 0.5, 'thigh': POSE['thigh'] - SCALE, 'calf': 0.5}), 'limited targets')
        rows = [list(message.data) for _, message in client.commands]
        steps = [abs(b - a) for before, after in pairwise(rows)
                 for a, b in zip(before, after, strict=True)]
        assert max(steps) <= 0.05 + 1e-9


def stopped(message: Any) -> None:
    """Stand for a topic that falls silent."""


def renamed(message: JointState) -> JointState:
    """Misspell one joint."""
    message.name = ['calff' if name == 'calf' else name for name in message.name]
    return message


def doubled(message: JointState) -> JointState:
    """Let one joint stand twice."""
    message.name = ['hip' if name == 'thigh' else name for name in message.name]
    return message


def shortened(message: JointState) -> JointState:
    """Lose one position."""
    message.position = message.position[:-1]
    return message


def not_a_number(message: JointState) -> JointState:
    """Break one position."""
    message.position[0] = float('nan')
    return message


def outside(message: JointState) -> JointState:
    """Measure one joint far beyond its limits."""
    message.position[0] = 1.5
    return message


def tipped(message: Imu) -> Imu:
    """Lie on the side: 90 degrees about x."""
    message.orientation.x = message.orientation.w = 0.5 ** 0.5
    return message


def unoriented(message: Imu) -> Imu:
    """Say that there is no orientation (REP-145)."""
    message.orientation_covariance[0] = -1.0
    return message


def no_rotation(message: Imu) -> Imu:
    """Give a zero quaternion."""
    message.orientation.w = 0.0
    return message


def spinning_to_infinity(message: Imu) -> Imu:
    """Give an infinite rate."""
    message.angular_velocity.y = float('inf')
    return message


FAULTS = [
    ('F101', 'joints', None, 'joint_states stale'),
    ('F102', 'imu', None, 'imu stale'),
    ('F111', 'joints', renamed, "did you mean 'calff'"),
    ('F113', 'joints', doubled, "['hip'] more than once"),
    ('F114', 'joints', not_a_number, 'position of joint calf is nan'),
    ('F114', 'imu', spinning_to_infinity, 'angular velocity of the IMU'),
    ('F115', 'joints', shortened, '2 values for 3 names'),
    ('F116', 'imu', no_rotation, 'norm 0'),
    ('F117', 'imu', unoriented, 'imu/data_raw'),
    ('F301', 'joints', outside, 'joint calf measured at 1.500 rad'),
    ('F303', 'imu', tipped, 'tilted by 90 deg'),
]


@pytest.mark.parametrize('number', range(len(FAULTS)),
                         ids=[f'{code}-{topic}' for code, topic, _, _ in FAULTS])
def test_every_bad_input_holds_the_robot(bundle: Path, number: int) -> None:
    """
    A bad input in RUN latches its fault and holds the last good pose; reset needs its end.

    No command of the policy follows the hold, although the velocity command goes on.
    """
    code, topic, spoil, words = FAULTS[number]
    with policy_and_client(DOMAIN + 5 + number, bundle, joint_timeout='0.3',
                           imu_timeout='0.3') as (_, client):
        client.start()
        moved(client, (0.6, 0.6, 0.6))
        setattr(client, topic, spoil)
        client.wait_for_state(f'FAULT: {code}')
        assert words in client.state
        held = client.measured
        if spoil is outside:
            held = {**held, 'calf': 1.0}  # the nearest pose inside the limits
        client.wait(lambda: close(client.last_values, held), 'the held pose')
        seen = len(client.commands)
        client.wait_for_commands(10)
        assert all(list(message.data) == list(client.commands[-1][1].data)
                   for _, message in client.commands[seen:])

        answer = client.trigger('reset_fault')
        assert not answer.success and code in answer.message
        assert client.state.startswith(f'FAULT: {code}')

        setattr(client, topic, lambda message: message)
        client.wait(lambda: client.trigger('reset_fault').success, 'a reset')
        client.wait_for_state('RUN')
        assert 'RAMP' in client.states[-2]


def test_nothing_is_sent_before_the_inputs_are_good(bundle: Path) -> None:
    """WAITING says what is missing and sends nothing; it begins by itself once all is there."""
    with policy_and_client(DOMAIN + 30, bundle) as (_, client):
        client.imu = None
        assert client.transition(CONFIGURE) and client.transition(ACTIVATE)
        client.wait_for_state('WAITING: F102 no imu received yet')
        client.wait(lambda: client.diagnostics.get('policy_node: inputs', {})
                    .get('joint_states_rate_hz', '0') != '0', 'joint states at the node')
        assert client.commands == []
        client.imu = lambda message: message
        client.wait_for_state('RUN')


def test_estop_holds_until_reset(bundle: Path) -> None:
    """~/estop latches F401; ~/reset_fault ramps up again; without a fault it says so."""
    with policy_and_client(DOMAIN + 31, bundle) as (_, client):
        assert not client.trigger('estop').success  # nothing runs yet
        client.start()
        assert not client.trigger('reset_fault').success
        moved(client, (0.6, 0.0, 0.0))
        assert client.trigger('estop').success
        client.wait_for_state('FAULT: F401')
        client.wait(lambda: close(client.last_values, client.measured), 'the held pose')
        assert client.trigger('reset_fault').success
        client.wait_for_state('RUN')


def test_deactivate_holds_then_is_silent(bundle: Path) -> None:
    """After deactivate the measured pose is the last command; activate starts a new ramp."""
    with policy_and_client(DOMAIN + 32, bundle) as (_, client):
        client.start()
        moved(client, (0.6, 0.0, 0.0))
        assert client.transition(DEACTIVATE)
        client.wait_for_state('INACTIVE')
        client.wait(lambda: close(client.last_values, client.measured), 'the measured pose')
        client.wait(lambda: 'policy_node: run' in client.diagnostics, 'statistics of the run')
        sent = len(client.commands)
        assert client.transition(ACTIVATE)
        client.wait_for_state('RUN')
        assert close(dict(zip(('calf', 'hip', 'thigh'), client.commands[sent][1].data,
                              strict=True)), client.measured)


def test_impossible_transitions_are_refused_and_harmless(bundle: Path) -> None:
    """Every transition from a wrong state is answered with a refusal; the node lives on."""
    with policy_and_client(DOMAIN + 33, bundle) as (_, client):
        for number in (ACTIVATE, DEACTIVATE, CLEANUP):
            assert not client.transition(number)
        assert client.transition(CONFIGURE)
        assert not client.transition(CONFIGURE)
        assert not client.transition(DEACTIVATE)
        assert client.transition(CLEANUP)
        client.start()
        assert not client.transition(ACTIVATE)
        assert client.transition(DEACTIVATE) and client.transition(CLEANUP)


def test_a_missing_bundle_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Configure fails, ~/state says why, and a later configure with the right value works."""
    with policy_and_client(DOMAIN + 34, tmp_path / 'nowhere') as (_, client):
        assert not client.transition(CONFIGURE)
        client.wait_for_state('UNCONFIGURED: there is no policy bundle at')
        good = make_tiny_bundle(tmp_path / 'bundle')
        assert client.set_parameter('policy', str(good)).successful
        client.start()
        refusal = client.set_parameter('ramp_duration', 1.0)
        assert not refusal.successful and 'cleanup' in refusal.reason
        assert client.commands


def test_a_wrong_topic_name_leaves_nothing_behind(bundle: Path) -> None:
    """Configure fails half-way with the reason, and works once the name is right."""
    with policy_and_client(DOMAIN + 41, bundle, topics__imu="'imu data'") as (_, client):
        assert not client.transition(CONFIGURE)
        client.wait(lambda: 'imu data' in client.state, 'the reason')
        assert client.state.startswith('UNCONFIGURED')
        assert client.set_parameter('topics.imu', 'imu/data').successful
        client.start()


def test_limits_are_required(bundle: Path) -> None:
    """Without position limits from contract or config the node does not configure."""
    with policy_and_client(DOMAIN + 35, bundle, limits__position_upper='[.nan]') as (_, client):
        assert not client.transition(CONFIGURE)
        client.wait_for_state('UNCONFIGURED: no position limits are known')


@pytest.mark.parametrize(('parameter', 'value', 'words'), [
    ('limits.max_stepp', '[0.1]', "did you mean 'limits.max_step'"),
    ('max_tilt', '9.0', 'expected a value in [0.05, 3.14'),
    ('backend', 'onnx', "did you mean 'onnxruntime'"),
    ('max_tilt', 'steep', 'of type str, expected float'),
])
def test_a_wrong_parameter_ends_the_start(parameter: str, value: str, words: str) -> None:
    """Unknown names, types and ranges: one sentence, exit code 2, no traceback."""
    process = PolicyProcess(DOMAIN + 36, {**BASE_PARAMETERS, parameter: value})
    output, _ = process.process.communicate(timeout=20)
    assert process.process.returncode == 2
    assert words in output and 'Traceback' not in output


def test_joint_state_interface_names_its_joints(bundle: Path) -> None:
    """With command_interface joint_state the message carries names and a stamp."""
    with policy_and_client(DOMAIN + 37, bundle, JointState,
                           command_interface='joint_state') as (_, client):
        client.start()
        client.velocity = (0.6, 0.0, 0.0)
        client.wait(lambda: close(dict(zip(client.commands[-1][1].name,
                                           client.commands[-1][1].position, strict=True)),
                                  {**POSE, 'hip': 0.4}), 'targets by name')
        assert client.commands[-1][1].header.stamp.sec > 0


def test_joint_trajectory_interface_has_one_point(bundle: Path) -> None:
    """With command_interface joint_trajectory there is one point, one control period ahead."""
    with policy_and_client(DOMAIN + 38, bundle, JointTrajectory,
                           command_interface='joint_trajectory') as (_, client):
        client.start()
        client.velocity = (0.0, 0.6, 0.0)

        def reached() -> bool:
            message = client.commands[-1][1]
            return close(dict(zip(message.joint_names, message.points[0].positions,
                                  strict=True)), {**POSE, 'thigh': 0.5})
        client.wait(reached, 'targets by name')
        message = client.commands[-1][1]
        assert len(message.points) == 1
        assert message.points[0].time_from_start.nanosec == 20_000_000
        assert message.header.stamp.sec == 0


def test_joint_states_can_set_the_pace(bundle: Path) -> None:
    """With trigger joint_states every 4th message of 200 Hz is a tick, silence a fault."""
    with policy_and_client(DOMAIN + 39, bundle, trigger='joint_states',
                           trigger_every='4', joint_timeout='0.3') as (_, client):
        client.start()
        client.wait(lambda: float(client.diagnostics.get('policy_node: loop', {})
                                  .get('tick_rate_hz', 0.0)) > 20.0, 'a rate')
        client.wait(lambda: float(client.diagnostics['policy_node: inputs']
                                  ['joint_states_rate_hz']) > 20.0, 'a rate')
        loop = client.diagnostics['policy_node: loop']
        inputs = client.diagnostics['policy_node: inputs']
        ratio = float(inputs['joint_states_rate_hz']) / float(loop['tick_rate_hz'])
        assert 2.0 < ratio < 8.0  # the two rates are of slightly different seconds
        client.joints = None
        client.wait_for_state('FAULT: F101')
        client.wait(lambda: close(client.last_values, client.measured), 'the held pose')


def test_diagnostics_tell_rates_ages_and_latencies(bundle: Path) -> None:
    """/diagnostics: rates, ages, missed ticks, latencies per stage, once a second."""
    with policy_and_client(DOMAIN + 40, bundle) as (_, client):
        client.start()
        client.wait(lambda: 'tick_p99_us' in client.diagnostics.get('policy_node: loop', {}),
                    'latencies')
        loop = client.diagnostics['policy_node: loop']
        for stage in ('decode', 'observation', 'inference', 'safety', 'publish', 'tick',
                      'sensor_to_command'):
            p50, p99, largest = (float(loop[f'{stage}_{name}_us'])
                                 for name in ('p50', 'p99', 'max'))
            assert 0.0 < p50 <= p99 <= largest
        assert 'missed_ticks' in loop
        client.wait(lambda: float(client.diagnostics['policy_node: inputs']
                                  ['joint_states_rate_hz']) > 20.0, 'a rate')
        inputs = client.diagnostics['policy_node: inputs']
        assert float(inputs['imu_age_ms']) < 200.0
