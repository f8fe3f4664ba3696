"""Rule: the observation is training's: function, modifiers, clip, scale, history, term by term."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.action import ActionProcessor
from sim2real_policy.contract import parse_contract, PolicyContract
from sim2real_policy.errors import JointError
from sim2real_policy.observation import observation_slices, ObservationBuilder
from sim2real_policy.rotations import gravity_in_base
from sim2real_policy.state import RobotState

F32 = NDArray[np.float32]
STILL = np.zeros(3, dtype=np.float32)
IDLE = np.zeros(3, dtype=np.float32)


def builder_of(contract: PolicyContract) -> ObservationBuilder:
    """Give a builder with a buffer of its own."""
    return ObservationBuilder(
        contract, np.zeros((1, contract.observation_width), dtype=np.float32))


def with_terms(data: dict[str, Any], *terms: dict[str, Any]) -> ObservationBuilder:
    """Give a builder for these terms alone, named for their place."""
    data['observation']['terms'] = [{'name': f'term{place}', **term}
                                    for place, term in enumerate(terms)]
    return builder_of(parse_contract(data, 'it'))


def seen(builder: ObservationBuilder, state: RobotState, command: F32 = STILL,
         action: F32 = IDLE) -> list[float]:
    """Give the next observation as plain numbers."""
    return [float(value) for value in builder.build(state, command, action)[0]]


def show(golden: dict[str, float], state: RobotState) -> F32:
    """Put a recorded state of Isaac Lab into ours; give its command."""
    recorded: dict[str, Any] = golden
    w, x, y, z = recorded['quat_wxyz']
    state.gravity[:] = gravity_in_base(x, y, z, w)
    state.angular_velocity[:] = recorded['ang_vel_b']
    state.linear_velocity[:] = recorded['lin_vel_b']
    state.joint_position[:] = recorded['joint_pos']
    state.joint_velocity[:] = recorded['joint_vel']
    return np.array(recorded['cmd'], dtype=np.float32)


def replay(golden: dict[str, Any], contract: PolicyContract) -> F32:
    """Give all observations of the recording: one after reset, one after each action."""
    builder, processor = builder_of(contract), ActionProcessor(contract)
    state = RobotState(len(contract.joints.names))
    rows = []
    for k, recorded in enumerate(golden['states']):
        if k:
            processor.process(np.array(golden['raw_actions'][k - 1], dtype=np.float32))
        rows.append(builder.build(state, show(recorded, state), processor.last)[0].copy())
    return np.array(rows)


def test_observations_are_those_of_isaac_lab(
        isaac_golden: dict[str, Any], isaac_contract: PolicyContract) -> None:
    rows, expected = replay(isaac_golden, isaac_contract), np.array(isaac_golden['expected_obs'])
    assert rows.shape == expected.shape
    assert len(rows) > 4
    for name, place in observation_slices(isaac_contract).items():
        assert np.abs(rows - expected)[:, place].max() < 1e-6, name


def test_slices_are_the_layout_of_isaac_lab(
        isaac_golden: dict[str, Any], isaac_contract: PolicyContract) -> None:
    slices = observation_slices(isaac_contract)
    assert [(name, place.stop - place.start) for name, place in slices.items()] == [
        (row['term'], row['dim']) for row in isaac_golden['layout']]
    assert slices['lin'] == slice(0, 3)
    assert slices['ang'] == slice(3, 12)  # three frames of history
    assert slices['act_torso'].stop == isaac_contract.observation_width


def test_wrong_quaternion_order_would_show(
        isaac_golden: dict[str, Any], isaac_contract: PolicyContract) -> None:
    swapped = [{**recorded, 'quat_wxyz': recorded['quat_wxyz'][1:] + recorded['quat_wxyz'][:1]}
               for recorded in isaac_golden['states']]
    rows = replay({**isaac_golden, 'states': swapped}, isaac_contract)
    assert np.abs(rows - np.array(isaac_golden['expected_obs'])).max() > 0.1


def test_terms_stand_one_after_another_in_one_buffer(
        contract: PolicyContract, state: RobotState) -> None:
    builder = builder_of(contract)
    state.angular_velocity[:] = 1.0, 2.0, 3.0
    state.joint_velocity[:] = 4.0, 5.0, 6.0
    out = builder.build(state, np.array([7.0, 8.0, 9.0], dtype=np.float32),
                        np.array([0.5, 1.5, 2.5], dtype=np.float32))
    assert out is builder.out
    assert out.dtype == np.float32
    assert out.shape == (1, 18)
    assert out[0].tolist() == [
        1.0, 2.0, 3.0,       # gyro
        0.0, 0.0, -1.0,      # gravity
        0.25, 0.25, 0.125,   # ankle, knee, hip less the default pose
        4.0, 5.0, 6.0,       # velocities of hip, knee, ankle
        0.5, 1.5, 2.5,       # last action
        7.0, 8.0, 9.0]       # command


@pytest.mark.parametrize(('function', 'values'), [
    ('joint_pos', [3.0, 1.0]), ('joint_pos_rel', [2.5, 0.875]),
    ('joint_vel', [30.0, 10.0]), ('joint_vel_rel', [27.0, 9.0]),
    ('joint_effort', [300.0, 100.0])])
def test_joint_terms_take_their_joints_in_their_own_order(
        contract_data: dict[str, Any], state: RobotState, function: str,
        values: list[float]) -> None:
    contract_data['joints'].update(default_position=[0.125, 0.25, 0.5],
                                   default_velocity=[1.0, 2.0, 3.0])
    builder = with_terms(contract_data, {'function': function, 'joints': ['ankle', 'hip']})
    state.joint_values[:] = [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [100.0, 200.0, 300.0]]
    assert seen(builder, state) == values


@pytest.mark.parametrize(('function', 'values'), [
    ('base_ang_vel', [1.0, 2.0, 3.0]), ('base_lin_vel', [4.0, 5.0, 6.0]),
    ('projected_gravity', [0.0, 0.0, -1.0]), ('generated_commands', [7.0, 8.0, 9.0]),
    ('last_action', [10.0, 11.0, 12.0])])
def test_terms_of_the_base_read_what_they_say(
        contract_data: dict[str, Any], state: RobotState, function: str,
        values: list[float]) -> None:
    state.angular_velocity[:] = 1.0, 2.0, 3.0
    state.linear_velocity[:] = 4.0, 5.0, 6.0
    assert seen(with_terms(contract_data, {'function': function}), state,
                np.array([7.0, 8.0, 9.0], dtype=np.float32),
                np.array([10.0, 11.0, 12.0], dtype=np.float32)) == values


def test_last_action_of_one_action_term(contract_data: dict[str, Any], state: RobotState) -> None:
    contract_data['actions']['terms'] = [
        {'name': 'leg', 'joints': ['knee', 'hip'], 'scale': [1.0, 1.0], 'offset': [0.0, 0.0]},
        {'name': 'foot', 'joints': ['ankle'], 'scale': [1.0], 'offset': [0.0]}]
    builder = with_terms(contract_data, {'function': 'last_action', 'action_term': 'foot'},
                         {'function': 'last_action', 'action_term': 'leg'},
                         {'function': 'last_action'})
    assert seen(builder, state, action=np.array([1.0, 2.0, 3.0], dtype=np.float32)) == [
        3.0, 1.0, 2.0, 1.0, 2.0, 3.0]


def test_clip_comes_before_scale(contract_data: dict[str, Any], state: RobotState) -> None:
    builder = with_terms(contract_data,
                         {'function': 'base_ang_vel', 'clip': [-1.0, 0.5], 'scale': 4.0},
                         {'function': 'base_ang_vel'})
    state.angular_velocity[:] = -2.0, 0.25, 2.0
    assert seen(builder, state) == [-4.0, 1.0, 2.0, -2.0, 0.25, 2.0]


def test_scale_may_be_one_number_or_one_per_value(
        contract_data: dict[str, Any], state: RobotState) -> None:
    builder = with_terms(contract_data,
                         {'function': 'base_ang_vel', 'scale': [2.0, 3.0, 0.0]},
                         {'function': 'base_ang_vel', 'scale': -1.0})
    state.angular_velocity[:] = 1.0, 2.0, 3.0
    assert seen(builder, state) == [2.0, 6.0, 0.0, -1.0, -2.0, -3.0]


def test_modifiers_come_first_and_in_their_order(
        contract_data: dict[str, Any], state: RobotState) -> None:
    bias, scale = {'kind': 'bias', 'value': 1.0}, {'kind': 'scale', 'value': 2.0}
    clip = {'kind': 'clip', 'value': [-3.0, 5.0]}
    builder = with_terms(
        contract_data, {'function': 'base_ang_vel', 'modifiers': [bias, scale]},
        {'function': 'base_ang_vel', 'modifiers': [scale, bias], 'clip': [-8.0, 8.0]},
        {'function': 'base_ang_vel', 'modifiers': [clip, scale], 'scale': 0.5})
    state.angular_velocity[:] = 1.0, 4.0, -5.0
    assert seen(builder, state) == [4.0, 10.0, -8.0, 3.0, 8.0, -8.0, 1.0, 4.0, -3.0]


def test_first_frame_fills_the_history_and_frames_go_oldest_first(
        contract_data: dict[str, Any], state: RobotState) -> None:
    builder = with_terms(contract_data,
                         {'function': 'joint_pos', 'joints': ['hip', 'knee'], 'scale': 2.0,
                          'history_length': 3},
                         {'function': 'joint_vel', 'joints': ['hip']})
    rows = []
    for number in (1.0, 2.0, 3.0, 4.0):
        state.joint_position[:], state.joint_velocity[:] = number, -number
        state.joint_position[1] += 0.5
        rows.append(seen(builder, state))
    assert rows == [
        [2.0, 3.0, 2.0, 3.0, 2.0, 3.0, -1.0],
        [2.0, 3.0, 2.0, 3.0, 4.0, 5.0, -2.0],
        [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -3.0],
        [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, -4.0]]


def test_reset_lets_the_next_frame_fill_the_history(
        contract_data: dict[str, Any], state: RobotState) -> None:
    builder = with_terms(contract_data, {'function': 'joint_pos', 'joints': ['hip'],
                                         'history_length': 3})
    for number in (1.0, 2.0):
        state.joint_position[:] = number
        seen(builder, state)
    builder.reset()
    state.joint_position[:] = 9.0
    assert seen(builder, state) == [9.0, 9.0, 9.0]


@pytest.mark.parametrize('depth', [2, 5, 70])
def test_history_is_that_of_a_plain_queue_however_long_it_runs(
        contract_data: dict[str, Any], state: RobotState, depth: int) -> None:
    """The ring moves back to its start every 64 frames; nobody may see it."""
    lengths = {'joint_pos': depth, 'joint_vel': max(1, depth // 2), 'joint_effort': 0}
    builder = with_terms(contract_data, *[
        {'function': function, 'joints': ['hip', 'ankle'], 'history_length': length}
        for function, length in lengths.items()])
    queues: dict[str, deque[F32]] = {}
    numbers = np.random.default_rng(1)
    for _ in range(300):
        state.joint_values[:] = numbers.normal(size=(3, 3))
        wanted = []
        for row, (function, length) in zip(state.joint_values, lengths.items(), strict=True):
            frame = row[[0, 2]].astype(np.float32)
            queue = queues.setdefault(function, deque([frame] * max(1, length),
                                                      maxlen=max(1, length)))
            queue.append(frame)
            wanted.append(np.concatenate(queue))
        assert np.array_equal(builder.build(state, STILL, IDLE)[0], np.concatenate(wanted))


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: sum(v * v for v in q) > 0.25))
def test_quaternion_and_its_negative_are_the_same_orientation(
        xyzw: tuple[float, float, float, float]) -> None:
    state = RobotState(1)
    contract = parse_contract({
        'schema_version': 1, 'name': 'it', 'control_period': 0.02,
        'network': {'onnx': 'policy.onnx', 'sha256': '0' * 64},
        'joints': {'names': ['hip'], 'default_position': [0.0], 'default_velocity': [0.0]},
        'observation': {'terms': [{'name': 'gravity', 'function': 'projected_gravity'}]},
        'actions': {'terms': [{'name': 'leg', 'joints': ['hip'], 'scale': [1.0],
                               'offset': [0.0]}]},
        'conventions': {'quaternion_order': 'xyzw', 'base_lin_vel_point': 'link_origin'}}, 'it')
    builder, idle = builder_of(contract), np.zeros(1, dtype=np.float32)
    rows = []
    for sign in (1.0, -1.0):
        state.gravity[:] = gravity_in_base(*[sign * value for value in xyzw])
        rows.append(builder.build(state, STILL, idle).tolist())
    assert rows[0] == rows[1]


def test_unobserved_values_may_be_anything(
        contract_data: dict[str, Any], state: RobotState) -> None:
    builder = with_terms(contract_data, {'function': 'joint_pos', 'joints': ['hip']})
    state.joint_effort[:] = np.nan
    state.linear_velocity[:] = np.inf
    state.joint_position[1:] = np.nan
    assert seen(builder, state) == [0.25]


def test_value_that_is_not_finite_is_neither_hidden_nor_spread(
        contract_data: dict[str, Any], state: RobotState) -> None:
    builder = with_terms(contract_data,
                         {'function': 'base_ang_vel', 'clip': [-1.0, 1.0], 'scale': 2.0})
    state.angular_velocity[:] = np.nan, np.inf, 0.25
    values = seen(builder, state)
    assert np.isnan(values[0])
    assert values[1:] == [2.0, 0.5]


def test_joint_that_the_contract_lacks_is_refused(contract: PolicyContract) -> None:
    term = contract.observation.terms[2].model_copy(update={'joints': ('toe',)})
    broken = contract.model_copy(update={
        'observation': contract.observation.model_copy(update={'terms': (term,)})})
    with pytest.raises(JointError, match=r"term 'q' lacks the joint \['toe'\]"):
        builder_of(broken)
