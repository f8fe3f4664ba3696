"""
Rule: the Python builder makes real engines, and what TensorRT says of a failure becomes advice.

Runs with the TensorRT that is installed: NVIDIA's own, or TensorRT for RTX, whose builder and ONNX
parser need no GPU.
"""

from __future__ import annotations

import functools
from pathlib import Path
import platform
import shutil
import struct

import numpy as np
import pytest
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.engine_file import check_engine, Machine, PRODUCTS, TENSORRT
from sim2real_policy.engine_sidecar import ShapeRange
from sim2real_policy.errors import EngineError
from sim2real_policy.offline import build_engine
from sim2real_policy.offline.build_engine import main
from sim2real_policy.offline.engine_api import build_plan, import_tensorrt
from sim2real_policy.offline.engine_build import Plant
from sim2real_policy.offline.engine_request import EngineRequest, NetworkShapes, read_shapes
from sim2real_policy.resources import PUP_BUNDLE

onnx = pytest.importorskip('onnx', reason='changes networks')
pytest.importorskip('onnxruntime', reason='is what engines are compared with')
FOUND = import_tensorrt()
if FOUND is None or not hasattr(FOUND[0], 'Builder'):
    pytest.skip('no TensorRT is installed; make test EXPORT=1 installs TensorRT for RTX',
                allow_module_level=True)
TRT, FLAVOR = FOUND
VERSION = str(TRT.__version__)
WIDTH = 45
HERE = Machine(VERSION, '', '', f'{platform.system()}-', platform.machine(), FLAVOR)


def shapes(low: tuple[int, int] = (1, WIDTH), high: tuple[int, int] = (1, WIDTH),
           name: str = 'observations') -> NetworkShapes:
    return NetworkShapes({name: ShapeRange(min=low, opt=(1, low[1]), max=high)}, (name,))


@pytest.fixture(autouse=True)
def no_gpu_for_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the GPU from TensorRT for RTX, which runs on few of those that it builds beside."""
    if FLAVOR != TENSORRT:
        monkeypatch.setattr(build_engine, 'Plant', functools.partial(
            Plant, identify=lambda: ('', '')))


@pytest.fixture
def pup(tmp_path: Path) -> Bundle:
    """Give the bundle of the simulated robot, to be written to."""
    return load_bundle(Path(shutil.copytree(PUP_BUNDLE, tmp_path / 'pup')))


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_the_tool_builds_an_engine_of_the_pup(pup: Bundle, precision: str,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(pup.folder), '--builder', 'python', '--precision', precision,
                 '--max-batch', '4', '--name', 'x'])
    said = capsys.readouterr().out
    plan = pup.folder / 'engines' / 'x.plan'
    data = plan.read_bytes()
    assert data[:4] == (b'ftrt' if FLAVOR == TENSORRT else b'vtrt')
    assert struct.unpack_from('<Q', data, 16) == (len(data),)
    version = '.'.join(str(byte) for byte in data[24:28])
    assert version.startswith(VERSION)
    assert f'built        {FLAVOR} {version}, python, {precision}' in said
    assert 'shapes       observations 1x45 to 4x45' in said
    assert code in (0, 1)
    if code == 1:
        assert 'proof        UNFIT' in said
        assert precision == 'int8'  # more than fp16 it must not cost
        return
    note = check_engine(plan, pup, HERE)
    assert (note.precision, note.shapes['observations'].max) == (precision, (4, WIDTH))


def test_the_engine_holds_the_precision_that_was_asked_for(pup: Bundle) -> None:
    sizes = {}
    for precision in ('fp32', 'fp16'):
        main([str(pup.folder), '--builder', 'python', '--precision', precision,
              '--name', precision, '--strongly-typed'])
        sizes[precision] = (pup.folder / 'engines' / f'{precision}.plan').stat().st_size
    weights = pup.onnx_path.stat().st_size  # float32
    assert sizes['fp32'] - sizes['fp16'] > weights / 4


def test_an_engine_is_refused_where_another_version_is_installed(pup: Bundle) -> None:
    main([str(pup.folder), '--builder', 'python', '--name', 'x'])
    plan = pup.folder / 'engines' / 'x.plan'
    with pytest.raises(EngineError, match=r'was built with .*, this machine has 8\.5\.2'):
        check_engine(plan, pup, Machine('8.5.2', '', '', '', '', FLAVOR))
    other = next(product for product in PRODUCTS if product != FLAVOR)
    with pytest.raises(EngineError, match='neither reads the engines of the other'):
        check_engine(plan, pup, Machine('10.3.0', '', '', '', '', other))


@pytest.mark.parametrize(('wrong', 'sentence'), [
    (NetworkShapes({}, ()), 'no optimization profile has been defined'),
    (shapes((1, WIDTH - 1), (1, WIDTH - 1)), 'Dimension mismatch for tensor observations'),
    (shapes((2, WIDTH), (4, WIDTH)), 'MIN<=OPT<=MAX'),
    (shapes(name='obs'), 'is missing dimensions in profile 0'),
])
def test_wrong_shapes(pup: Bundle, wrong: NetworkShapes, sentence: str) -> None:
    with pytest.raises(EngineError) as error:
        build_plan(TRT, pup.onnx_path, EngineRequest(pup), wrong, lambda _: None)
    assert sentence in str(error.value)
    assert str(error.value).endswith('; the network and the contract do not agree about the '
                                     'inputs; export the bundle again')


def refused(pup: Bundle, network: Path) -> str:
    lines: list[str] = []
    with pytest.raises(EngineError) as error:
        build_plan(TRT, network, EngineRequest(pup), shapes(), lines.append)
    assert any(line.startswith('[E] ') for line in lines)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('content', ['half', 'text', 'nothing'])
def test_a_damaged_network(pup: Bundle, tmp_path: Path, content: str) -> None:
    network = tmp_path / 'damaged.onnx'
    if content != 'nothing':
        network.write_bytes(pup.onnx_path.read_bytes()[:9999] if content == 'half' else b'hello')
    assert refused(pup, network).endswith('; the network file is damaged; export the bundle again')


def test_a_layer_that_tensorrt_does_not_know(pup: Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(pup.onnx_path))
    node = next(node for node in model.graph.node if node.op_type == 'Elu')
    node.op_type, node.domain = 'Fancy', 'my.layers'
    model.opset_import.append(onnx.helper.make_opsetid('my.layers', 1))
    onnx.save(model, str(tmp_path / 'fancy.onnx'))
    sentence = refused(pup, tmp_path / 'fancy.onnx')
    assert 'export with opset 17 or lower and without custom layers' in sentence
    assert node.name in sentence


def test_a_zero_point_that_is_not_zero(pup: Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(pup.onnx_path))
    graph = model.graph
    graph.initializer.extend([onnx.numpy_helper.from_array(np.float32(0.1), 'scale'),
                              onnx.numpy_helper.from_array(np.int8(3), 'zero')])
    name, graph.node[0].input[0] = graph.node[0].input[0], 'coarse'
    nodes = [onnx.helper.make_node('QuantizeLinear', [name, 'scale', 'zero'], ['grid']),
             onnx.helper.make_node('DequantizeLinear', ['grid', 'scale', 'zero'], ['coarse']),
             *(type(node).FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(tmp_path / 'zero.onnx'))
    assert 'this version cannot take the quantised network; take --precision fp16' in refused(
        pup, tmp_path / 'zero.onnx')


def test_a_second_build_in_one_process_tells_its_own_errors(pup: Bundle, tmp_path: Path) -> None:
    (tmp_path / 'text.onnx').write_text('hello')
    refused(pup, tmp_path / 'text.onnx')
    lines: list[str] = []
    plan = build_plan(TRT, pup.onnx_path, EngineRequest(pup),
                      read_shapes(pup.onnx_path, pup, 1), lines.append)
    assert len(plan) > pup.onnx_path.stat().st_size
    assert not [line for line in lines if line.startswith('[E] ')]
