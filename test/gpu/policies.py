"""Policies to run on a GPU, as bundles: made here, so that the tests need no other file."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime
from sim2real_policy.bundle import Bundle, GOLDEN_FILE, load_bundle, sha256_of
from sim2real_policy.contract import CONTRACT_FILE, parse_contract, PolicyContract, save_contract
from sim2real_policy.offline.reference_chain import ReferenceChain, Sample

JOINTS = tuple(f'joint_{index}' for index in range(12))
DEFAULT_POSE = tuple(0.1 * index - 0.5 for index in range(12))  # rad
OBSERVATIONS, ACTIONS = 45, 12
HIDDEN = (512, 256, 128)
MEMORY = 64
GOLDEN_ROWS, CHAIN_STEPS = 32, 10
OPSET, IR_VERSION = 17, 8
_REAL = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def make_bundle(folder: Path, *, batch: int | str = 1, dtype: Any = np.float32,
                recurrent: bool = False, period: float = 0.02) -> Bundle:
    """
    Write a bundle: an MLP 45-512-256-128-12 with ELU, or a recurrent network.

    :param folder: made.
    :param batch: of the network's input; a name leaves it open.
    :param dtype: of the network's input and output.
    :param recurrent: add a state of 64 numbers.
    :param period: control period [s].
    """
    folder.mkdir(parents=True)
    onnx.save(_recurrent_network() if recurrent else _network(batch, dtype),
              folder / 'policy.onnx')
    contract = _contract(folder, recurrent, period)
    save_contract(contract, folder / CONTRACT_FILE)
    _save_golden(folder, contract)
    return load_bundle(folder)


def _value(name: str, shape: list[int | str], dtype: Any = np.float32) -> Any:
    return helper.make_tensor_value_info(name, _REAL[dtype], shape)


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) \
        -> Any:
    graph = helper.make_graph(nodes, 'policy', inputs, outputs, [
        numpy_helper.from_array(weight, name) for name, weight in weights.items()])
    return helper.make_model(graph, ir_version=IR_VERSION,
                             opset_imports=[helper.make_opsetid('', OPSET)])


def _random(rows: int, columns: int, dtype: Any = np.float32) -> Any:
    numbers = np.random.default_rng(rows * 1000 + columns)
    return (numbers.normal(size=(rows, columns)) / np.sqrt(columns)).astype(dtype)


def _network(batch: int | str, dtype: Any) -> Any:
    sizes = [OBSERVATIONS, *HIDDEN, ACTIONS]
    nodes, weights, name = [], {}, 'observations'
    for index, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        last = index == len(HIDDEN)
        weights |= {f'w{index}': _random(rows, columns, dtype),
                    f'b{index}': _random(1, rows, dtype)[0]}
        out = 'actions' if last else f'h{index}'
        nodes.append(helper.make_node('Gemm', [name, f'w{index}', f'b{index}'], [out], transB=1))
        name = out
        if not last:
            nodes.append(helper.make_node('Elu', [name], [f'e{index}']))
            name = f'e{index}'
    return _model(nodes, [_value('observations', [batch, OBSERVATIONS], dtype)],
                  [_value('actions', [batch, ACTIONS], dtype)], weights)


def _recurrent_network() -> Any:
    """Return h' = tanh(A x + B h), actions = C h'."""
    nodes = [helper.make_node('MatMul', ['observations', 'a'], ['ax']),
             helper.make_node('MatMul', ['h_in', 'b'], ['bh']),
             helper.make_node('Add', ['ax', 'bh'], ['sum']),
             helper.make_node('Tanh', ['sum'], ['h_out']),
             helper.make_node('MatMul', ['h_out', 'c'], ['actions'])]
    return _model(nodes, [_value('observations', [1, OBSERVATIONS]), _value('h_in', [1, MEMORY])],
                  [_value('actions', [1, ACTIONS]), _value('h_out', [1, MEMORY])],
                  {'a': _random(OBSERVATIONS, MEMORY), 'b': _random(MEMORY, MEMORY),
                   'c': _random(MEMORY, ACTIONS)})


def _contract(folder: Path, recurrent: bool, period: float) -> PolicyContract:
    network: dict[str, Any] = {'onnx': 'policy.onnx', 'sha256': sha256_of(folder / 'policy.onnx')}
    if recurrent:
        network['recurrent'] = [{'input': 'h_in', 'output': 'h_out', 'shape': (1, MEMORY)}]
    return parse_contract({
        'schema_version': 1, 'name': 'gpu_test', 'control_period': period, 'network': network,
        'joints': {'names': JOINTS, 'default_position': DEFAULT_POSE,
                   'default_velocity': (0.0,) * len(JOINTS)},
        'observation': {'terms': [
            {'name': 'gyro', 'function': 'base_ang_vel'},
            {'name': 'gravity', 'function': 'projected_gravity'},
            {'name': 'command', 'function': 'generated_commands'},
            {'name': 'q', 'function': 'joint_pos_rel', 'joints': JOINTS},
            {'name': 'dq', 'function': 'joint_vel_rel', 'joints': JOINTS},
            {'name': 'last', 'function': 'last_action'}]},
        'actions': {'terms': [{'name': 'legs', 'joints': JOINTS, 'scale': (0.25,) * len(JOINTS),
                               'offset': DEFAULT_POSE}]},
        'command': {'name': 'base_velocity'},
        'conventions': {'quaternion_order': 'wxyz', 'base_lin_vel_point': 'link_origin'},
    }, 'contract.yaml')


class Answers:
    """The network in ONNX Runtime, row by row, with its recurrent state."""

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(path),
                                                     providers=['CPUExecutionProvider'])
        self._inputs = self._session.get_inputs()
        self.reset()

    def reset(self) -> None:
        """Forget."""
        self._state = np.zeros((1, MEMORY), dtype=np.float32)

    def __call__(self, observation: Any) -> Any:
        """Return the raw action for an observation of shape (45,)."""
        half = self._inputs[0].type == 'tensor(float16)'
        given = {'observations': observation[None].astype(np.float16 if half else np.float32)}
        if len(self._inputs) > 1:
            given['h_in'] = self._state
        answer = self._session.run(None, given)
        if len(self._inputs) > 1:
            self._state = answer[1]
        return answer[0][0].astype(np.float32)


def _save_golden(folder: Path, contract: PolicyContract) -> None:
    numbers, count = np.random.default_rng(11), len(JOINTS)
    ask, reference = Answers(folder / 'policy.onnx'), ReferenceChain(contract)
    observations = numbers.normal(size=(GOLDEN_ROWS, OBSERVATIONS)).astype(np.float32)
    actions = []
    for row in observations:
        ask.reset()
        actions.append(ask(row))
    ask.reset()
    tilted = np.array([0.0, 0.0, 0.0, 1.0]) + numbers.normal(0.0, 0.1, (CHAIN_STEPS, 4))
    chain = [Sample(
        joint_position=numbers.normal(size=count), joint_velocity=numbers.normal(size=count),
        joint_effort=numbers.normal(size=count), quaternion_xyzw=quaternion,
        angular_velocity=numbers.normal(size=3), linear_velocity=numbers.normal(size=3),
        command=numbers.normal(size=3))
        for quaternion in tilted / np.linalg.norm(tilted, axis=1, keepdims=True)]
    seen, raw, targets = [], [], []
    for sample in chain:
        seen.append(reference.observe(sample))
        raw.append(ask(seen[-1]))
        targets.append(reference.act(raw[-1]))
    np.savez(folder / GOLDEN_FILE, observations=observations, actions=np.array(actions),
             **{f'chain_{name}': np.array([getattr(sample, name) for sample in chain])
                for name in Sample.__dataclass_fields__},
             chain_observation=np.array(seen), chain_raw_action=np.array(raw),
             chain_target=np.array(targets, dtype=np.float64))
