"""
What many tests share, as fixtures.

The robot has three joints, and everything about it is in another order somewhere: the contract
says hip, knee, ankle, and the actions go to ankle, knee, hip.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import math
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.bundle import Bundle, GOLDEN_FILE, load_bundle, sha256_of
from sim2real_policy.contract import CONTRACT_FILE, parse_contract, PolicyContract, save_contract
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.offline.env_yaml import load_training_yaml
from sim2real_policy.offline.reference_chain import ReferenceChain, Sample
from sim2real_policy.offline.training_run import contract_from_env
from sim2real_policy.pipeline import PipelineSettings
from sim2real_policy.state import RobotState

F32 = NDArray[np.float32]
ISAAC_LAB = Path(__file__).parent / 'data' / 'isaaclab'
OPSET, IR_VERSION = 17, 8

# However busy the machine is, a test that passes passes.
hypothesis.settings.register_profile('package', deadline=None)
hypothesis.settings.load_profile('package')


@pytest.fixture
def contract_data() -> dict[str, Any]:
    """Give a contract as plain data, to be changed by the test."""
    joints = ['hip', 'knee', 'ankle']
    actions = ['ankle', 'knee', 'hip']
    return {
        'schema_version': 1,
        'name': 'tripod',
        'control_period': 0.02,
        'network': {'onnx': 'policy.onnx', 'sha256': '0' * 64, 'input': 'obs',
                    'output': 'actions'},
        'joints': {'names': joints, 'default_position': [0.125, 0.25, -0.5],
                   'default_velocity': [0.0, 0.0, 0.0]},
        'observation': {'terms': [
            {'name': 'gyro', 'function': 'base_ang_vel'},
            {'name': 'gravity', 'function': 'projected_gravity'},
            {'name': 'q', 'function': 'joint_pos_rel', 'joints': actions},
            {'name': 'dq', 'function': 'joint_vel_rel', 'joints': joints},
            {'name': 'last', 'function': 'last_action'},
            {'name': 'command', 'function': 'generated_commands'}]},
        'actions': {'terms': [{'name': 'legs', 'joints': actions, 'scale': [1.0, 1.0, 1.0],
                               'offset': [-0.5, 0.25, 0.125]}]},
        'command': {'name': 'base_velocity', 'ranges': {
            'lin_vel_x': [-1.0, 2.0], 'lin_vel_y': [-0.5, 0.5], 'ang_vel_z': [-1.0, 1.0]}},
        'conventions': {'quaternion_order': 'wxyz', 'base_lin_vel_point': 'link_origin'},
        'provenance': {'framework': 'isaaclab', 'iteration': 750}}


@pytest.fixture
def contract(contract_data: dict[str, Any]) -> PolicyContract:
    """Give the contract of the three-joint robot."""
    return parse_contract(contract_data, 'contract.yaml')


@pytest.fixture
def state() -> RobotState:
    """Give a robot upright and at rest, each joint elsewhere, all received at 10 s."""
    state = RobotState(3)
    state.joint_position[:] = 0.25, 0.5, -0.25
    state.gravity[:] = 0.0, 0.0, -1.0
    for reception in (state.joints, state.imu, state.odometry):
        reception.accept(10.0, 10_000_000_000)
    return state


@pytest.fixture
def limits() -> JointLimits:
    """Give +-1 rad in steps of 1/8 rad, with 1/16 rad of tolerance for what is measured."""
    return JointLimits(lower=np.full(3, -1.0), upper=np.full(3, 1.0), max_step=np.full(3, 0.125),
                       tolerance=0.0625)


@pytest.fixture
def monitor_settings() -> MonitorSettings:
    """Give timeouts that are exact in binary, and 60 deg of tilt."""
    return MonitorSettings(joint_timeout=0.0625, imu_timeout=0.125, odometry_timeout=0.25,
                           max_tilt=math.radians(60.0), max_rejected=2)


@pytest.fixture
def settings(limits: JointLimits, monitor_settings: MonitorSettings) -> PipelineSettings:
    """Give the choices for this robot: 1 s of ramp."""
    return PipelineSettings(monitor=monitor_settings, limits=limits, ramp_duration=1.0,
                            command_timeout=0.5)


@pytest.fixture
def save_linear_network() -> Callable[..., None]:
    """Give a function that writes actions = observation @ weight as ONNX."""
    onnx = pytest.importorskip('onnx')

    def save(path: Path, weight: F32, names: tuple[str, str] = ('obs', 'actions'),
             batch: int | str = 1) -> None:
        helper, real = onnx.helper, onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            [helper.make_node('MatMul', [names[0], 'weight'], [names[1]])], 'linear',
            [helper.make_tensor_value_info(names[0], real, [batch, weight.shape[0]])],
            [helper.make_tensor_value_info(names[1], real, [batch, weight.shape[1]])],
            [onnx.numpy_helper.from_array(weight, 'weight')])
        onnx.save(helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[
            helper.make_opsetid('', OPSET)]), path)
    return save


@pytest.fixture
def identity_weight(contract: PolicyContract) -> F32:
    """Give the network that answers with term 'q', so that each target is what is measured."""
    weight = np.zeros((contract.observation_width, 3), dtype=np.float32)
    weight[6:9] = np.eye(3)
    return weight


@pytest.fixture
def save_golden() -> Callable[..., None]:
    """Give a function that writes golden.npz for a linear network, by training's own rules."""
    def save(path: Path, contract: PolicyContract, weight: F32, **changes: Any) -> None:
        numbers = np.random.default_rng(7)
        steps, joints = 4, len(contract.joints.names)
        tilted = np.array([0.0, 0.0, 0.0, 1.0]) + numbers.normal(0.0, 0.3, (steps, 4))
        tilted /= np.linalg.norm(tilted, axis=1, keepdims=True)
        chain = [Sample(
            joint_position=numbers.normal(size=joints), joint_velocity=numbers.normal(size=joints),
            joint_effort=numbers.normal(size=joints), quaternion_xyzw=quaternion,
            angular_velocity=numbers.normal(size=3), linear_velocity=numbers.normal(size=3),
            command=numbers.normal(size=3)) for quaternion in tilted]
        reference = ReferenceChain(contract)
        seen, raw, targets = [], [], []
        for sample in chain:
            seen.append(reference.observe(sample))
            raw.append(seen[-1] @ weight)
            targets.append(reference.act(raw[-1]))
        observations = numbers.normal(size=(5, contract.observation_width)).astype(np.float32)
        np.savez(path, **{
            'observations': observations, 'actions': observations @ weight,
            **{f'chain_{name}': np.array([getattr(sample, name) for sample in chain])
               for name in Sample.__dataclass_fields__},
            'chain_observation': np.array(seen), 'chain_raw_action': np.array(raw),
            'chain_target': np.array(targets), **changes})
    return save


@pytest.fixture
def make_bundle(tmp_path: Path, contract_data: dict[str, Any], identity_weight: F32,
                save_linear_network: Callable[..., None],
                save_golden: Callable[..., None]) -> Callable[..., Path]:
    """Give a function that writes the folder of a bundle; by default all in it fits together."""
    def make(weight: F32 = identity_weight, golden_weight: F32 | None = None,
             **network: Any) -> Path:
        folder = tmp_path / 'bundle'
        folder.mkdir(exist_ok=True)
        save_linear_network(folder / 'policy.onnx', weight, **network)
        contract_data['network']['sha256'] = sha256_of(folder / 'policy.onnx')
        contract = parse_contract(contract_data, 'contract.yaml')
        save_contract(contract, folder / CONTRACT_FILE)
        save_golden(folder / GOLDEN_FILE, contract,
                    weight if golden_weight is None else golden_weight)
        return folder
    return make


@pytest.fixture
def bundle_folder(make_bundle: Callable[..., Path]) -> Path:
    """Give the folder of a bundle whose network answers with term 'q'."""
    return make_bundle()


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    """Give that bundle, loaded."""
    return load_bundle(bundle_folder)


@pytest.fixture(scope='session')
def isaac_golden() -> dict[str, Any]:
    """Give what Isaac Lab 2.3.2's own managers answered."""
    golden: dict[str, Any] = json.loads((ISAAC_LAB / 'per_term_history.json').read_text())
    return golden


@pytest.fixture(scope='session')
def isaac_contract(isaac_golden: dict[str, Any]) -> PolicyContract:
    """Give the contract of the environment that those managers ran."""
    return contract_from_env(
        load_training_yaml(ISAAC_LAB / 'per_term_history.cfg.yaml'),
        {'clip_actions': isaac_golden['clip_actions']}, isaac_golden['joint_names'],
        control_period=0.02, default_position=isaac_golden['default_joint_pos'])
