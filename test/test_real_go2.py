"""
Rule: fed with what a real robot measured, we give the commands that the robot itself gave.

A Unitree Go2 walked under a public policy and was recorded; the recording lies outside this
repository. What remains between its actions and ours comes from its resampling to 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.action import ActionProcessor
from sim2real_policy.bundle import Bundle, Golden, sha256_of
from sim2real_policy.contract import parse_contract, PolicyContract
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.observation import ObservationBuilder
from sim2real_policy.onnx_runner import OnnxRunner
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline
from sim2real_policy.rotations import gravity_in_base
from sim2real_policy.safety import Phase
from sim2real_policy.state import RobotState, VelocityCommand

F64 = NDArray[np.float64]
FOLDER = Path(__file__).resolve().parents[2] / 'shared' / 'real_go2'
PERIOD = 0.02
DEFAULT = [0.0, 0.9, -1.8] * 4
SCALE = 0.5
JOINTS = [f'{leg}_{part}_joint' for leg in ('FR', 'FL', 'RR', 'RL')
          for part in ('hip', 'thigh', 'calf')]
RIGHT, WRONG = 0.06, 0.09  # RMS of the raw action; the actions' own is 0.434

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f'the recording of the real robot is not at {FOLDER}')


@dataclass(frozen=True)
class Recording:
    """One row per 20 ms, joints as FR, FL, RR, RL with hip, thigh, calf each."""

    position: F64
    velocity: F64
    quaternion_xyzw: F64
    gyro: F64
    target: F64
    command: F64

    @property
    def action(self) -> F64:
        """The raw actions behind the recorded targets, shape (rows, 12)."""
        return (self.target - DEFAULT) / SCALE


def read(name: str) -> F64:
    return np.loadtxt(FOLDER / f'{name}.csv', delimiter=',')


@pytest.fixture(scope='module')
def recording() -> Recording:
    state, imu = read('state_history'), read('imu_history')
    return Recording(
        position=state[:, 1:13], velocity=state[:, 13:25], quaternion_xyzw=imu[:, [2, 3, 4, 1]],
        gyro=imu[:, 5:8], target=read('command_history')[:, 1:13],
        command=read('policy_command_history')[:, 1:4])


@pytest.fixture(scope='module')
def contract() -> PolicyContract:
    network = {'onnx': 'policy.onnx', 'sha256': sha256_of(FOLDER / 'policy.onnx'),
               'input': 'obs', 'output': 'continuous_actions'}
    return parse_contract({
        'schema_version': 1, 'name': 'go2', 'control_period': PERIOD, 'network': network,
        'joints': {'names': JOINTS, 'default_position': DEFAULT, 'default_velocity': [0.0] * 12},
        'observation': {'terms': [
            {'name': 'gyro', 'function': 'base_ang_vel'},
            {'name': 'gravity', 'function': 'projected_gravity'},
            {'name': 'q', 'function': 'joint_pos_rel', 'joints': JOINTS},
            {'name': 'dq', 'function': 'joint_vel_rel', 'joints': JOINTS},
            {'name': 'last', 'function': 'last_action'},
            {'name': 'command', 'function': 'generated_commands'}]},
        'actions': {'terms': [{'name': 'legs', 'joints': JOINTS, 'scale': [SCALE] * 12,
                               'offset': DEFAULT}]},
        'command': {'name': 'base_velocity'},
        'conventions': {'quaternion_order': 'wxyz', 'base_lin_vel_point': 'link_origin'}}, 'it')


@pytest.fixture(scope='module')
def bundle(contract: PolicyContract) -> Bundle:
    """Give the robot's network without golden data: the recording takes their place."""
    none: Any = np.zeros(0)
    golden = Golden(**dict.fromkeys(Golden.__dataclass_fields__, none))
    return Bundle(FOLDER, contract, FOLDER / 'policy.onnx', golden)


@pytest.fixture(scope='module')
def network(bundle: Bundle) -> OnnxRunner:
    pytest.importorskip('onnxruntime')
    return OnnxRunner(bundle)


def show(recording: Recording, row: int, state: RobotState) -> None:
    """Put one row of the recording into the state, as the decoders do."""
    state.joint_position[:] = recording.position[row]
    state.joint_velocity[:] = recording.velocity[row]
    state.angular_velocity[:] = recording.gyro[row]
    state.gravity[:] = gravity_in_base(*map(float, recording.quaternion_xyzw[row]))


def recompute(recording: Recording, contract: PolicyContract, network: OnnxRunner,
              previous: F64) -> tuple[F64, F64]:
    """Give raw actions and targets for every row but the first, from what the robot measured."""
    state, builder = RobotState(12), ObservationBuilder(contract, network.input)
    processor = ActionProcessor(contract)
    actions, targets = [], []
    for row in range(1, len(recording.position)):
        show(recording, row, state)
        builder.build(state, recording.command[row].astype(np.float32),
                      previous[row - 1].astype(np.float32))
        network.run()
        targets.append(processor.process(network.output[0]).copy())
        actions.append(processor.last.copy())
    return np.array(actions, dtype=np.float64), np.array(targets, dtype=np.float64)


def rms(difference: F64) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


def test_our_actions_are_those_of_the_robot(
        recording: Recording, contract: PolicyContract, network: OnnxRunner) -> None:
    actions, targets = recompute(recording, contract, network, recording.action)
    assert len(actions) == 999
    assert rms(recording.action) == pytest.approx(0.434, abs=0.01)
    assert rms(actions - recording.action[1:]) <= RIGHT
    assert rms(targets - recording.target[1:]) <= RIGHT * SCALE
    assert np.median(np.abs(actions - recording.action[1:])) < 0.025


def swap_sides(values: F64) -> F64:
    """Exchange FR with FL and RR with RL."""
    return values[:, [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]]


MISTAKES: dict[str, Callable[[Recording], tuple[Recording, F64]]] = {
    'quaternion as w, x, y, z': lambda r: (
        replace(r, quaternion_xyzw=r.quaternion_xyzw[:, [3, 0, 1, 2]]), r.action),
    'previous action zero': lambda r: (r, np.zeros_like(r.action)),
    'previous action as target': lambda r: (r, r.target),
    'left and right swapped': lambda r: (
        replace(r, position=swap_sides(r.position), velocity=swap_sides(r.velocity)), r.action),
    'velocities scaled': lambda r: (replace(r, velocity=0.05 * r.velocity), r.action)}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_wrong_convention_would_show(
        recording: Recording, contract: PolicyContract, network: OnnxRunner,
        mistake: str) -> None:
    wrong, previous = MISTAKES[mistake](recording)
    actions, _ = recompute(wrong, contract, network, previous)
    assert rms(actions - recording.action[1:]) > WRONG


def test_default_pose_that_is_not_subtracted_would_show(
        recording: Recording, contract: PolicyContract, network: OnnxRunner) -> None:
    joints = contract.joints.model_copy(update={'default_position': (0.0,) * 12})
    wrong = contract.model_copy(update={'joints': joints})
    actions, _ = recompute(recording, wrong, network, recording.action)
    assert rms(actions - recording.action[1:]) > WRONG


def test_a_healthy_walk_shows_no_fault(
        recording: Recording, contract: PolicyContract, network: OnnxRunner) -> None:
    limits = JointLimits(lower=np.full(12, -4.0), upper=np.full(12, 4.0),
                         max_step=np.full(12, 1.0), tolerance=0.0)
    monitor = MonitorSettings(joint_timeout=0.06, imu_timeout=0.06, odometry_timeout=0.06,
                              max_tilt=math.radians(60.0), max_rejected=2)
    pipeline = PolicyPipeline(contract, network, PipelineSettings(
        monitor=monitor, limits=limits, ramp_duration=1.0, command_timeout=0.5))
    pipeline.activate()
    phases = []
    for row in range(len(recording.position)):
        now = 100.0 + row * PERIOD
        show(recording, row, pipeline.state)
        pipeline.state.joints.accept(now, 0)
        pipeline.state.imu.accept(now, 0)
        x, y, turn = map(float, recording.command[row])
        command = pipeline.step(VelocityCommand(x, y, turn, now), now)
        assert command is not None, pipeline.safety.reason
        assert np.abs(command.position).max() <= 4.0
        phases.append(pipeline.safety.phase)
    assert pipeline.safety.reason is None
    assert phases.count(Phase.RAMP) in (50, 51)
    assert set(phases) == {Phase.RAMP, Phase.RUN}
    assert not pipeline.safety.limiter.limited.any()
