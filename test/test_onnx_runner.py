"""Rule: ONNX Runtime runs exactly the contract's network, from one buffer into another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.contract import parse_contract
from sim2real_policy.errors import InferenceError, MissingDependencyError
from sim2real_policy.onnx_runner import OnnxRunner

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
F32 = NDArray[np.float32]
REAL = onnx.TensorProto.FLOAT


def tensor(name: str, *shape: int | str, kind: int = REAL) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def node(operation: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operation, inputs.split(), outputs.split(), **attributes)


MEAN = [node('ReduceMean', 'obs', 'mean', axes=[1], keepdims=1),
        node('Concat', 'mean mean mean', 'actions', axis=1)]


@pytest.fixture
def save(tmp_path: Path, contract_data: dict[str, Any],
         bundle: Bundle) -> Callable[..., Bundle]:
    """Give a function that makes a bundle around a graph, whatever its hash and golden data."""
    def save(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Bundle:
        path = tmp_path / 'graph.onnx'
        graph = onnx.helper.make_graph(nodes, 'graph', inputs, outputs)
        onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[
            onnx.helper.make_opsetid('', 17)]), path)
        return Bundle(tmp_path, parse_contract(contract_data, 'it'), path, bundle.golden)
    return save


@pytest.fixture
def recurrent(save: Callable[..., Bundle], contract_data: dict[str, Any]) -> OnnxRunner:
    """Give a network that adds up what it saw of the gyro: h' = h + gyro, actions = h'."""
    contract_data['observation']['terms'] = [{'name': 'gyro', 'function': 'base_ang_vel'}]
    contract_data['network']['recurrent'] = [{'input': 'h', 'output': 'h_out',
                                              'shape': [1, 1, 3]}]
    return OnnxRunner(save(
        [node('Add', 'h obs', 'h_out'), node('Flatten', 'h_out', 'actions')],
        [tensor('obs', 1, 3), tensor('h', 1, 'batch', 3)],
        [tensor('actions', 1, 3), tensor('h_out', 1, 'batch', 3)]))


def test_known_linear_network(make_bundle: Callable[..., Path]) -> None:
    weight = np.zeros((18, 3), dtype=np.float32)
    weight[0] = 1.0, 10.0, 100.0
    weight[17] = 2.0, 20.0, 200.0
    runner = OnnxRunner(load_bundle(make_bundle(weight)))
    runner.input[0, 0], runner.input[0, 17] = 3.0, 0.5
    runner.run()
    assert runner.output.tolist() == [[4.0, 40.0, 400.0]]


def test_buffers_stay_the_same_and_are_read_at_every_run(bundle: Bundle) -> None:
    runner = OnnxRunner(bundle)
    taken, given = runner.input, runner.output
    assert taken.shape == (1, 18)
    assert given.shape == (1, 3)
    assert taken.dtype == given.dtype == np.float32
    for number in (1.0, 2.0):
        taken.fill(number)
        runner.run()
        assert given.tolist() == [[number] * 3]
    assert runner.input is taken
    assert runner.output is given


def test_answers_are_those_of_the_matrix(make_bundle: Callable[..., Path]) -> None:
    numbers = np.random.default_rng(2)
    weight = numbers.normal(size=(18, 3)).astype(np.float32)
    runner = OnnxRunner(load_bundle(make_bundle(weight)))
    for _ in range(20):
        runner.input[:] = numbers.normal(size=(1, 18))
        runner.run()
        assert runner.output == pytest.approx(runner.input @ weight, abs=1e-5)


@pytest.mark.parametrize('batch', [1, 'batch'])
def test_batch_may_be_fixed_to_one_or_free(
        make_bundle: Callable[..., Path], batch: int | str) -> None:
    runner = OnnxRunner(load_bundle(make_bundle(batch=batch)))
    runner.input.fill(0.5)
    runner.run()
    assert runner.output.tolist() == [[0.5, 0.5, 0.5]]


def test_recurrent_state_is_carried_and_reset(recurrent: OnnxRunner) -> None:
    recurrent.input[0] = 1.0, 2.0, 3.0
    seen = []
    for turn in range(4):
        if turn == 3:
            recurrent.reset()
        recurrent.run()
        seen.append(recurrent.output[0].tolist())
    assert seen == [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 6.0, 9.0], [1.0, 2.0, 3.0]]


def test_recurrent_state_is_zero_after_loading_though_the_network_was_run(
        save: Callable[..., Bundle], contract_data: dict[str, Any]) -> None:
    """This state grows by e^h at each run, so the warm-up alone would show."""
    contract_data['observation']['terms'] = [{'name': 'gyro', 'function': 'base_ang_vel'}]
    contract_data['network']['recurrent'] = [{'input': 'h', 'output': 'h_out', 'shape': [1, 3]}]
    runner = OnnxRunner(save(
        [node('Exp', 'h', 'grown'), node('Add', 'h grown', 'h_out'),
         node('Add', 'h obs', 'actions')],
        [tensor('obs', 1, 3), tensor('h', 1, 3)],
        [tensor('actions', 1, 3), tensor('h_out', 1, 3)]))
    runner.run()
    assert runner.output.tolist() == [[0.0, 0.0, 0.0]]
    runner.run()
    assert runner.output.tolist() == [[1.0, 1.0, 1.0]]


def test_further_outputs_are_left_alone(save: Callable[..., Bundle]) -> None:
    runner = OnnxRunner(save(
        [*MEAN, node('Identity', 'obs', 'value')],
        [tensor('obs', 1, 18)], [tensor('actions', 1, 3), tensor('value', 1, 18)]))
    runner.input.fill(2.0)
    runner.run()
    assert runner.output.tolist() == [[2.0, 2.0, 2.0]]


@pytest.mark.parametrize(('nodes', 'inputs', 'outputs', 'text'), [
    pytest.param(MEAN, [tensor('obs', 1, 17)], [tensor('actions', 1, 3)],
                 "input 'obs' is tensor(float) [1, 17], the contract expects tensor(float) "
                 '[1, 18]', id='observation width'),
    pytest.param(MEAN, [tensor('obs', 4, 18)], [tensor('actions', 4, 3)],
                 "input 'obs' is tensor(float) [4, 18]", id='batch'),
    pytest.param([MEAN[0], node('Concat', 'mean mean', 'actions', axis=1)],
                 [tensor('obs', 1, 18)], [tensor('actions', 1, 2)],
                 "output 'actions' is tensor(float) [1, 2]", id='action width'),
    pytest.param([node('Flatten', 'obs', 'flat'),
                  node('ReduceMean', 'flat', 'mean', axes=[1], keepdims=1),
                  node('Concat', 'mean mean mean', 'actions', axis=1)],
                 [tensor('obs', 1, 1, 18)], [tensor('actions', 1, 3)],
                 "input 'obs' is tensor(float) [1, 1, 18]", id='rank'),
    pytest.param([node('ReduceMean', 'observation', 'mean', axes=[1], keepdims=1), MEAN[1]],
                 [tensor('observation', 1, 18)], [tensor('actions', 1, 3)],
                 "the network has the inputs ['observation'], the contract expects ['obs']",
                 id='name of the input'),
    pytest.param([MEAN[0], node('Concat', 'mean mean mean', 'action', axis=1)],
                 [tensor('obs', 1, 18)], [tensor('action', 1, 3)],
                 "the network has the outputs ['action'], the contract expects ['actions']",
                 id='name of the output'),
    pytest.param([node('Add', 'obs noise', 'noisy'),
                  node('ReduceMean', 'noisy', 'mean', axes=[1], keepdims=1), MEAN[1]],
                 [tensor('obs', 1, 18), tensor('noise', 1, 18)], [tensor('actions', 1, 3)],
                 "the network has the inputs ['noise', 'obs'], the contract expects ['obs']",
                 id='one input more'),
    pytest.param([node('Cast', 'obs', 'short', to=REAL),
                  node('ReduceMean', 'short', 'mean', axes=[1], keepdims=1), MEAN[1]],
                 [tensor('obs', 1, 18, kind=onnx.TensorProto.DOUBLE)], [tensor('actions', 1, 3)],
                 "input 'obs' is tensor(double) [1, 18]", id='type')])
def test_network_with_other_tensors_is_refused(
        save: Callable[..., Bundle], nodes: list[Any], inputs: list[Any], outputs: list[Any],
        text: str) -> None:
    bundle = save(nodes, inputs, outputs)
    with pytest.raises(InferenceError) as refusal:
        OnnxRunner(bundle)
    assert text in str(refusal.value)
    assert str(refusal.value).endswith('export the bundle again')


def test_network_without_the_contract_s_state_is_refused(
        bundle: Bundle, contract_data: dict[str, Any]) -> None:
    contract_data['network']['recurrent'] = [{'input': 'h', 'output': 'h_out', 'shape': [1, 3]}]
    stateful = Bundle(bundle.folder, parse_contract(contract_data, 'it'), bundle.onnx_path,
                      bundle.golden)
    with pytest.raises(InferenceError, match=r"inputs \['obs'\], the contract expects \['h', "):
        OnnxRunner(stateful)


def test_network_that_loads_but_cannot_run_is_refused(save: Callable[..., Bundle]) -> None:
    """Its free batch hides that it answers with two rows."""
    bundle = save([MEAN[0], node('Concat', 'mean mean mean', 'row', axis=1),
                   node('Concat', 'row row', 'actions', axis=0)],
                  [tensor('obs', 'n', 18)], [tensor('actions', 'm', 3)])
    with pytest.raises(InferenceError, match='cannot be run with a batch of one'):
        OnnxRunner(bundle)


@pytest.mark.parametrize('size', [0, 1, 60, -20])
def test_damaged_file_is_refused_in_one_sentence(bundle: Bundle, size: int) -> None:
    content = bundle.onnx_path.read_bytes()
    bundle.onnx_path.write_bytes(content[:size])
    with pytest.raises(InferenceError) as refusal:
        OnnxRunner(bundle)
    assert 'cannot be loaded by onnxruntime' in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__  # no traceback of another library in front


def test_missing_library_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(MissingDependencyError, match='pip install onnxruntime'):
        OnnxRunner(bundle)


def test_one_thread_does_the_work(bundle: Bundle) -> None:
    options = OnnxRunner(bundle)._session.get_session_options()
    assert options.intra_op_num_threads == options.inter_op_num_threads == 1


def test_closing_twice_is_harmless(bundle: Bundle) -> None:
    runner = OnnxRunner(bundle)
    runner.close()
    runner.close()
