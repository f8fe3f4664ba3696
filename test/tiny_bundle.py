"""A policy that a person can compute: target = default pose + 0.5 x velocity command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sim2real_policy.bundle import GOLDEN_FILE, sha256_of
from sim2real_policy.contract import CONTRACT_FILE, parse_contract, save_contract
from sim2real_policy.offline.reference_chain import ReferenceChain, Sample

JOINTS = ('hip', 'thigh', 'calf')
DEFAULT_POSE = (0.1, 0.2, 0.3)  # rad
SCALE = 0.5
PERIOD = 0.02  # s
STEPS = 3


def make_tiny_bundle(folder: Path) -> Path:
    """
    Write the bundle; the network hands the command through, so raw action = (vx, vy, wz).

    :param folder: made.
    """
    onnx = __import__('pytest').importorskip('onnx')
    folder.mkdir(parents=True)
    weights = np.vstack([np.zeros((3, 3)), np.eye(3)]).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('MatMul', ['observations', 'weights'], ['actions'])], 'tiny',
        [onnx.helper.make_tensor_value_info('observations', 1, ['batch', 6])],
        [onnx.helper.make_tensor_value_info('actions', 1, ['batch', 3])],
        [onnx.numpy_helper.from_array(weights, 'weights')])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, folder / 'policy.onnx')
    contract = parse_contract({
        'schema_version': 1, 'name': 'tiny', 'control_period': PERIOD,
        'network': {'onnx': 'policy.onnx', 'sha256': sha256_of(folder / 'policy.onnx')},
        'joints': {'names': JOINTS, 'default_position': DEFAULT_POSE,
                   'default_velocity': (0.0, 0.0, 0.0)},
        'observation': {'terms': [
            {'name': 'joint_pos', 'function': 'joint_pos_rel', 'joints': JOINTS},
            {'name': 'command', 'function': 'generated_commands'}]},
        'actions': {'terms': [{'name': 'legs', 'joints': JOINTS, 'scale': (SCALE,) * 3,
                               'offset': DEFAULT_POSE}]},
        'command': {'name': 'base_velocity', 'ranges': {
            'lin_vel_x': (-1.0, 1.0), 'lin_vel_y': (-1.0, 1.0), 'ang_vel_z': (-1.0, 1.0)}},
        'conventions': {'quaternion_order': 'wxyz', 'base_lin_vel_point': 'link_origin'},
    }, 'tiny')
    save_contract(contract, folder / CONTRACT_FILE)
    chain, rows = ReferenceChain(contract), []
    samples = [Sample(np.array(DEFAULT_POSE) + 0.1 * step, np.zeros(3), np.zeros(3),
                      np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3),
                      np.array([0.1, 0.2, 0.3]) * step) for step in range(STEPS)]
    for sample in samples:
        observation = chain.observe(sample)
        raw = observation @ weights
        rows.append((observation, raw, chain.act(raw)))
    observations = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    np.savez(
        folder / GOLDEN_FILE, observations=observations, actions=observations @ weights,
        chain_joint_position=[sample.joint_position for sample in samples],
        chain_joint_velocity=np.zeros((STEPS, 3)), chain_joint_effort=np.zeros((STEPS, 3)),
        chain_quaternion_xyzw=[sample.quaternion_xyzw for sample in samples],
        chain_angular_velocity=np.zeros((STEPS, 3)), chain_linear_velocity=np.zeros((STEPS, 3)),
        chain_command=[sample.command for sample in samples],
        chain_observation=np.array([row[0] for row in rows]),
        chain_raw_action=np.array([row[1] for row in rows]),
        chain_target=np.array([row[2] for row in rows], dtype=np.float64))
    return folder
