"""Rule: a network of lower precision is TensorRT's kind, answers alike, and its cost is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.bundle import Bundle, load_bundle, sha256_of
from sim2real_policy.contract import load_contract, save_contract
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_proof import (
    answers,
    compare,
    proof_rows,
    prove_network,
    realistic_rows,
)
from sim2real_policy.offline.engine_request import read_shapes
from sim2real_policy.offline.engine_summary import difference, int8_cost
from sim2real_policy.offline.quantize_fp16 import before_first_layer, convert_to_fp16
from sim2real_policy.offline.quantize_int8 import feeds, quantize_to_int8, read_observations
from sim2real_policy.resources import PUP_BUNDLE

onnx = pytest.importorskip('onnx', reason='changes networks')
pytest.importorskip('onnxruntime', reason='runs networks')

F32 = NDArray[np.float32]
FLOAT, HALF, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8


@pytest.fixture(scope='module')
def pup() -> Bundle:
    """Give the bundle of the simulated robot: a normaliser and four linear layers."""
    return load_bundle(PUP_BUNDLE)


def test_fp16_keeps_inputs_outputs_and_normaliser_and_halves_the_rest(pup: Bundle,
                                                                      tmp_path: Path) -> None:
    convert_to_fp16(pup.onnx_path, tmp_path / 'half.onnx')
    graph = onnx.load(str(tmp_path / 'half.onnx')).graph
    assert [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)] == [
        FLOAT, FLOAT]
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert types.pop('0.mean') == types.pop('onnx::Div_22') == FLOAT
    assert set(types.values()) == {HALF}
    # float32 up to the first layer, and back at the end: no detour in between.
    assert [node.op_type for node in graph.node] == [
        'Sub', 'Div', 'Cast', 'Gemm', 'Elu', 'Gemm', 'Elu', 'Gemm', 'Elu', 'Gemm', 'Cast']


def test_fp16_of_the_pup_costs_less_than_two_thousandths_of_a_radian(pup: Bundle,
                                                                     tmp_path: Path) -> None:
    convert_to_fp16(pup.onnx_path, tmp_path / 'half.onnx')
    proof = prove_network(tmp_path / 'half.onnx', pup, 'fp16')
    assert proof.fit
    assert proof.worst_rad is not None
    assert 1e-6 < proof.worst_rad < 2e-3


def test_a_raw_observation_far_from_zero_does_not_lose_its_digits(pup: Bundle, tmp_path: Path,
                                                                  ) -> None:
    """Half precision is coarser than 1 near 4096; the normaliser must see float32."""
    model = onnx.load(str(pup.onnx_path))
    far = np.float32(4096.0)
    for tensor in model.graph.initializer:
        if tensor.name == '0.mean':
            mean = onnx.numpy_helper.to_array(tensor) + far
            tensor.CopyFrom(onnx.numpy_helper.from_array(mean, '0.mean'))
    onnx.save(model, str(tmp_path / 'far.onnx'))
    convert_to_fp16(tmp_path / 'far.onnx', tmp_path / 'half.onnx')
    rows = pup.golden.observations + far
    error = np.abs(answers(tmp_path / 'half.onnx', pup, rows)
                   - answers(tmp_path / 'far.onnx', pup, rows)).max()
    assert error < 0.02


def test_a_weight_beyond_half_precision_is_refused(tmp_path: Path,
                                                   save_linear_network: Callable[..., None],
                                                   ) -> None:
    save_linear_network(tmp_path / 'large.onnx', np.full((4, 2), 1e5, dtype=np.float32))
    with pytest.raises(EngineError, match=r"'weight' has values up to 1e\+05, half precision "
                       r'holds at most 65504; take --precision fp32'):
        convert_to_fp16(tmp_path / 'large.onnx', tmp_path / 'half.onnx')


def test_what_comes_before_the_first_layer(pup: Bundle) -> None:
    assert before_first_layer(onnx.load(str(pup.onnx_path)).graph) == ['/0/Sub', '/0/Div']


def producers(graph: Any) -> dict[str, Any]:
    return {name: node for node in graph.node for name in node.output}


def test_int8_is_what_tensorrt_takes(pup: Bundle, tmp_path: Path) -> None:
    """Symmetric, zero point 0, one scale per tensor, no quantised bias, inner layers alone."""
    quantize_to_int8(pup, tmp_path / 'int8.onnx', realistic_rows(pup))
    model = onnx.load(str(tmp_path / 'int8.onnx'))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor)
                 for tensor in model.graph.initializer}
    made = producers(model.graph)
    quantised = []
    for node in model.graph.node:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
            scale, zero = constants[node.input[1]], constants[node.input[2]]
            assert scale.shape == zero.shape == ()
            assert (zero.dtype, int(zero)) == (np.int8, 0)
        if node.op_type == 'Gemm':
            sources = [made[name].op_type if name in made else 'constant' for name in node.input]
            quantised.append(sources)
    both = ['DequantizeLinear', 'DequantizeLinear', 'constant']  # x, weights, bias
    assert quantised == [['Div', 'constant', 'constant'], both, both, ['Elu', 'constant',
                                                                       'constant']]
    assert model.opset_import[0].version == 17


def test_int8_of_the_pup_costs_many_times_as_much_as_fp16(pup: Bundle, tmp_path: Path) -> None:
    convert_to_fp16(pup.onnx_path, tmp_path / 'half.onnx')
    quantize_to_int8(pup, tmp_path / 'int8.onnx', realistic_rows(pup))
    half = prove_network(tmp_path / 'half.onnx', pup, 'fp16')
    int8 = prove_network(tmp_path / 'int8.onnx', pup, 'int8')
    assert half.worst_rad is not None
    assert int8.worst_rad is not None
    assert 10 * half.worst_rad < int8.worst_rad < 0.1


def test_int8_needs_an_inner_layer(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match='has 1 linear layers, expected at least 3 for int8'):
        quantize_to_int8(bundle, tmp_path / 'int8.onnx', realistic_rows(bundle))


def test_few_observations_for_int8_are_told() -> None:
    assert 'calibrated on 164 observations; give 500 or more' in int8_cost(164)
    assert 'calibrated' not in int8_cost(500)


def test_observations_are_read_from_npz_and_npy(tmp_path: Path) -> None:
    rows = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / 'a.npy', rows)
    np.savez(tmp_path / 'a.npz', observations=rows)
    for name in ('a.npy', 'a.npz'):
        read = read_observations(tmp_path / name, 3)
        assert (read.tolist(), read.dtype) == (rows.tolist(), np.float32)


@pytest.mark.parametrize(('content', 'sentence'), [
    ({'rows': np.zeros((2, 3))}, 'cannot be read: .*expected .npy, or .npz with an array named '
     'observations'),
    ({'observations': np.zeros((2, 4))}, r'holds float64 of shape \(2, 4\), expected finite '
     r'observations of shape \(n, 3\)'),
    ({'observations': np.zeros((0, 3))}, r'of shape \(0, 3\)'),
    ({'observations': np.full((2, 3), np.nan)}, 'expected finite'),
    ({'observations': np.zeros((2, 3), dtype=int)}, 'holds int64'),
])
def test_observations_that_are_none_are_refused(tmp_path: Path, content: dict[str, Any],
                                                sentence: str) -> None:
    np.savez(tmp_path / 'a.npz', **content)
    with pytest.raises(EngineError, match=sentence):
        read_observations(tmp_path / 'a.npz', 3)


def test_differences_are_told_in_raw_action_and_in_rad(bundle: Bundle) -> None:
    contract = bundle.contract
    term = contract.actions.terms[0].model_copy(update={'scale': (0.5, -0.25, 1.0)})
    scaled = Bundle(bundle.folder, contract.model_copy(update={
        'actions': contract.actions.model_copy(update={'terms': (term,)})}), bundle.onnx_path,
        bundle.golden)
    expected = np.array([[8.0, 0.0, 0.5]], dtype=np.float32)
    found = np.array([[8.5, 1.0, 0.5]], dtype=np.float32)
    proof = compare(expected, found, scaled, 'int8')
    # 0.5 of 8 is 1/16, 1.0 of nothing counts as of 1; 0.5 x 0.5 = 1.0 x 0.25 rad.
    assert (proof.worst_raw, proof.worst_rad, proof.worst_relative) == (1.0, 0.25, 1.0)
    assert not proof.fit
    assert difference(proof) == ('largest difference 1 in raw action, 0.25 rad, 1 relative '
                                 '(allowed 0.2), over 1 observations')
    found[0] = 8.5, 0.1, 0.5
    assert compare(expected, found, scaled, 'int8').fit
    assert not compare(expected, found, scaled, 'fp16').fit


def test_random_observations_are_like_the_golden_ones(pup: Bundle) -> None:
    rows, real = proof_rows(pup), realistic_rows(pup)
    drawn = rows[len(real):]
    assert np.array_equal(rows[:len(real)], real)
    assert np.abs(drawn.mean(axis=0) - real.mean(axis=0)).max() < 0.25 * real.std(axis=0).max()
    assert np.array_equal(proof_rows(pup), rows)


@pytest.fixture
def counting(make_bundle: Callable[..., Path], bundle_folder: Path) -> Bundle:
    """Give a recurrent policy: action = term q + memory, and memory + 1 is the next memory."""
    contract = load_contract(bundle_folder / 'contract.yaml')
    path, width = bundle_folder / 'policy.onnx', contract.observation_width
    helper = onnx.helper
    weight = onnx.numpy_helper.to_array(onnx.load(str(path)).graph.initializer[0])
    graph = helper.make_graph(
        [helper.make_node('MatMul', ['obs', 'weight'], ['q']),
         helper.make_node('Add', ['q', 'memory'], ['actions']),
         helper.make_node('Add', ['memory', 'one'], ['next_memory'])], 'counting',
        [helper.make_tensor_value_info('obs', FLOAT, ['batch', width]),
         helper.make_tensor_value_info('memory', FLOAT, ['batch', 3])],
        [helper.make_tensor_value_info('actions', FLOAT, ['batch', 3]),
         helper.make_tensor_value_info('next_memory', FLOAT, ['batch', 3])],
        [onnx.numpy_helper.from_array(weight, 'weight'),
         onnx.numpy_helper.from_array(np.ones(1, dtype=np.float32), 'one')])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)]),
              str(path))
    data = contract.model_dump(mode='python')
    data['network'] |= {'sha256': sha256_of(path), 'recurrent': [
        {'input': 'memory', 'output': 'next_memory', 'shape': (1, 3)}]}
    save_contract(type(contract).model_validate(data), bundle_folder / 'contract.yaml')
    return load_bundle(bundle_folder)


def test_calibration_carries_the_recurrent_state_and_the_proof_starts_it_anew(
        counting: Bundle) -> None:
    rows = realistic_rows(counting)[:3]
    assert [feed['memory'].tolist() for feed in feeds(counting, rows)] == [
        [[0.0] * 3], [[1.0] * 3], [[2.0] * 3]]
    assert np.array_equal(answers(counting.onnx_path, counting, rows), rows[:, 6:9])


def test_shapes_of_recurrent_tensors(counting: Bundle) -> None:
    shapes = read_shapes(counting.onnx_path, counting, 5)
    assert shapes.open_inputs == ('obs', 'memory')
    assert (shapes.ranges['memory'].min, shapes.ranges['memory'].max) == ((1, 3), (5, 3))
