"""
Rule: the runner does with TensorRT and CUDA what they demand, in their order, and says why not.

There is no GPU here: TensorRT and pycuda are stand-ins that compute on the CPU (test/gpu). What
needs a real one is in test/gpu/test_gpu_runner.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import gc
from pathlib import Path
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

GPU = Path(__file__).parent / 'gpu'
sys.path.insert(0, str(GPU))

import engines
import policies
from sim2real_policy import cuda_device, tensorrt_network
from sim2real_policy.bundle import Bundle
from sim2real_policy.errors import EngineError, MissingDependencyError
from sim2real_policy.inference import check_golden, GPU_WAITS
from sim2real_policy.tensorrt_runner import TensorRTRunner

STANDINS = ('tensorrt', 'pycuda')


def forget(libraries: tuple[str, ...]) -> None:
    for name in [name for name in sys.modules if name.split('.')[0] in libraries]:
        del sys.modules[name]
    cuda_device.open_device.cache_clear()
    tensorrt_network.captured_log.cache_clear()


@pytest.fixture
def standins(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Give the stand-ins of TensorRT and pycuda, fresh, and check that no context stays pushed."""
    forget(STANDINS)
    monkeypatch.syspath_prepend(str(GPU / 'standin'))
    monkeypatch.syspath_prepend(str(GPU / 'standin_cuda'))
    import pycuda.driver
    import tensorrt
    assert pycuda.driver.IS_STANDIN
    yield SimpleNamespace(cuda=pycuda.driver, trt=tensorrt)
    assert pycuda.driver.stack() == []
    forget(STANDINS)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Give an MLP 45-512-256-128-12 as a bundle."""
    return policies.make_bundle(tmp_path / 'bundle')


@pytest.fixture
def plan(standins: SimpleNamespace, bundle: Bundle) -> Path:
    """Give its engine."""
    return engines.build(standins.trt, bundle)


def tick(calls: list[str]) -> list[str]:
    """Give what the last tick did, from its push on, without repetitions."""
    last = len(calls) - 1 - calls[::-1].index('push')
    return list(dict.fromkeys(calls[last:]))


@pytest.mark.parametrize('mapped', [False, True])
@pytest.mark.parametrize('wait', GPU_WAITS)
def test_answers_are_those_of_the_network(bundle: Bundle, plan: Path, wait: str,
                                          mapped: bool) -> None:
    runner = TensorRTRunner(bundle, plan, wait, mapped)
    assert check_golden(runner, bundle.golden) < 1e-5
    runner.close()


@pytest.mark.parametrize(('mapped', 'wait', 'expected'), [
    (False, 'spin', ['push', 'copy in', 'copy out', 'query', 'pop']),
    (True, 'yield', ['push', 'query', 'pop']),
    (True, 'block', ['push', 'record', 'wait', 'pop'])])
def test_a_tick_copies_launches_and_waits_and_does_nothing_else(
        standins: SimpleNamespace, bundle: Bundle, plan: Path, mapped: bool, wait: str,
        expected: list[str]) -> None:
    runner = TensorRTRunner(bundle, plan, wait, mapped)
    runner.run()
    assert tick(standins.cuda.calls) == expected
    runner.close()


@pytest.mark.parametrize('integrated', [False, True])
def test_memory_is_mapped_where_the_device_shares_it(
        standins: SimpleNamespace, bundle: Bundle, plan: Path, integrated: bool) -> None:
    standins.cuda.state['integrated'] = integrated
    runner = TensorRTRunner(bundle, plan)
    assert ('mapped memory' in runner.facts.reason) == integrated
    assert ('copies' in runner.facts.reason) != integrated
    runner.close()


def test_without_a_driver_for_graphs_the_work_is_enqueued_plainly_and_it_is_said(
        bundle: Bundle, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_device, '_DRIVER_LIBRARY', 'libno_such_driver.so.1')
    runner = TensorRTRunner(bundle, plan)
    assert 'plain enqueue, since no CUDA graph could be recorded (the driver cannot be loaded' \
        in runner.facts.reason
    runner.close()


def test_an_open_batch_is_set_to_one(standins: SimpleNamespace, tmp_path: Path) -> None:
    bundle = policies.make_bundle(tmp_path / 'open', batch='batch')
    runner = TensorRTRunner(bundle, engines.build(standins.trt, bundle))
    assert runner.input.shape == (1, 45)
    assert check_golden(runner, bundle.golden) < 1e-5
    runner.close()


def test_half_precision_inputs_and_outputs_are_converted(standins: SimpleNamespace,
                                                         tmp_path: Path) -> None:
    bundle = policies.make_bundle(tmp_path / 'half', dtype=np.float16)
    runner = TensorRTRunner(bundle, engines.build(standins.trt, bundle, precision='fp16'))
    assert runner.input.dtype == runner.output.dtype == np.float32
    assert check_golden(runner, bundle.golden, runner.facts.tolerance) > 0.0
    assert runner.facts.tolerance == pytest.approx(
        0.02 * max(1.0, np.abs(bundle.golden.actions).max()))
    runner.close()


def test_recurrent_state_is_carried_and_reset(standins: SimpleNamespace, tmp_path: Path) -> None:
    bundle = policies.make_bundle(tmp_path / 'recurrent', recurrent=True)
    runner = TensorRTRunner(bundle, engines.build(standins.trt, bundle))
    ask = policies.Answers(bundle.onnx_path)
    for _ in range(2):
        for row in bundle.golden.observations[:5]:
            runner.input[0] = row
            runner.run()
            np.testing.assert_allclose(runner.output[0], ask(row), atol=1e-5)
        runner.reset()
        ask.reset()
    runner.close()


def test_closing_frees_everything_and_what_was_seen_stays_readable(
        standins: SimpleNamespace, bundle: Bundle, plan: Path) -> None:
    runner = TensorRTRunner(bundle, plan)
    kept = runner.output[0, 3:5]
    runner.run()
    seen = kept.copy()
    runner.close()
    runner.close()
    np.testing.assert_array_equal(kept, seen)
    alive = dict(standins.cuda.alive)
    assert alive.pop('PagelockedHostAllocation') == 2
    assert set(alive.values()) == {0}
    with pytest.raises(EngineError, match='the TensorRT runner is closed'):
        runner.run()
    del runner, kept
    TensorRTRunner(bundle, plan).close()
    TensorRTRunner(bundle, plan).close()
    assert standins.cuda.alive['PagelockedHostAllocation'] <= 2


def test_a_forgotten_runner_frees_itself_in_whatever_thread(
        standins: SimpleNamespace, bundle: Bundle, plan: Path) -> None:
    kept = [TensorRTRunner(bundle, plan)]
    depth: list[int] = []

    def drop() -> None:
        kept.clear()
        gc.collect()
        depth.append(len(standins.cuda.stack()))
    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert depth == [0]
    assert standins.cuda.alive['Stream'] == 0
    assert standins.cuda.alive['DeviceAllocation'] == 0


def test_a_gpu_that_failed_can_still_be_closed(standins: SimpleNamespace, bundle: Bundle,
                                               plan: Path) -> None:
    runner = TensorRTRunner(bundle, plan)
    standins.cuda.state['fail_synchronize'] = True
    runner.close()
    assert standins.cuda.alive['Stream'] == 0


def test_a_failing_tick_says_why_and_leaves_no_context(
        standins: SimpleNamespace, bundle: Bundle, plan: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    runner = TensorRTRunner(bundle, plan)

    def fail(*unused: Any) -> None:
        raise standins.cuda.LaunchError('cuStreamQuery failed: an illegal memory access')
    monkeypatch.setattr(standins.cuda.Stream, 'is_done', fail)
    with pytest.raises(EngineError, match='the GPU failed: cuStreamQuery failed: an illegal'):
        runner.run()
    assert standins.cuda.stack() == []
    runner.close()


def answer(value: Any) -> Callable[..., Any]:
    return lambda *unused: value


@pytest.mark.parametrize(('kind', 'method', 'value', 'text'), [
    ('Runtime', 'deserialize_cuda_engine', None, 'could not make the engine'),
    ('ICudaEngine', 'create_execution_context', None, 'could not make an execution context'),
    ('IExecutionContext', 'set_tensor_address', False, "of tensor 'observations' was refused"),
    ('IExecutionContext', 'execute_async_v3', False, 'the inference was not started'),
    ('IExecutionContext', 'infer_shapes', ['observations'],
     r"the shapes of \['observations'\] remain open"),
    ('ICudaEngine', 'get_tensor_dtype', 'INT8', 'is of type INT8, expected float32 or float16'),
    ('IExecutionContext', 'get_tensor_shape', (1, 44), r'has the shape \[1, 44\], the contract'),
    ('ICudaEngine', 'get_tensor_name', 'obs', r'has the inputs \[\], the contract expects'),
])
def test_whatever_tensorrt_refuses_is_told_with_the_way_to_rebuild(
        standins: SimpleNamespace, bundle: Bundle, plan: Path, kind: str, method: str, value: Any,
        text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getattr(standins.trt, kind), method, answer(value))
    with pytest.raises(EngineError, match=text) as refusal:
        TensorRTRunner(bundle, plan)
    assert str(refusal.value).startswith(str(plan))
    assert 'python tools/build_engine.py' in str(refusal.value)
    gc.collect()
    assert standins.cuda.alive.get('Stream', 0) == 0


def test_the_first_error_of_tensorrts_log_is_the_reason(
        standins: SimpleNamespace, bundle: Bundle, plan: Path) -> None:
    damaged = bytearray(plan.read_bytes())
    damaged[40:80] = bytes(40)
    plan.write_bytes(damaged)
    engines.write_note(plan, bundle)
    with pytest.raises(EngineError, match='could not make the engine; TensorRT says: '
                       'Serialization assertion failed: this is no network'):
        TensorRTRunner(bundle, plan)


def test_warnings_of_tensorrt_are_kept_for_the_user(
        standins: SimpleNamespace, bundle: Bundle, plan: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    load = standins.trt.Runtime.deserialize_cuda_engine

    def warn(runtime: Any, data: bytes) -> Any:
        runtime.logger.log(standins.trt.ILogger.Severity.WARNING, 'different models\nof devices')
        runtime.logger.log(standins.trt.ILogger.Severity.INFO, 'loaded')
        return load(runtime, data)
    monkeypatch.setattr(standins.trt.Runtime, 'deserialize_cuda_engine', warn)
    runner = TensorRTRunner(bundle, plan)
    assert runner.facts.warnings == ('TensorRT: different models of devices',)
    runner.close()


def test_a_wrong_engine_is_refused_before_the_gpu_is_asked(
        standins: SimpleNamespace, bundle: Bundle, plan: Path) -> None:
    standins.cuda.state['init_error'] = 'cuInit failed: no CUDA-capable device is detected'
    with pytest.raises(EngineError, match='there is no usable NVIDIA GPU: cuInit failed'):
        TensorRTRunner(bundle, plan)
    content = plan.read_bytes()
    for wrong, reason in ((content[:-1], 'truncated'), (content[:-1] + b'x', 'has SHA-256')):
        plan.write_bytes(wrong)
        with pytest.raises(EngineError, match=reason):
            TensorRTRunner(bundle, plan)
    assert 'push' not in standins.cuda.calls


def test_an_engine_for_another_gpu_is_refused(standins: SimpleNamespace, bundle: Bundle,
                                              plan: Path) -> None:
    engines.write_note(plan, bundle, compute_capability='7.2')
    with pytest.raises(EngineError, match=r'compute capability 7\.2, this machine has 8\.7'):
        TensorRTRunner(bundle, plan)


@pytest.mark.parametrize(('absent', 'install'), [
    ('tensorrt', 'sudo apt install python3-libnvinfer'), ('pycuda', 'pip install pycuda')])
def test_a_missing_library_is_named_with_the_way_to_get_it(
        standins: SimpleNamespace, bundle: Bundle, plan: Path, absent: str, install: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    forget((absent,))
    folder = GPU / ('standin' if absent == 'tensorrt' else 'standin_cuda')
    monkeypatch.setattr(sys, 'path', [path for path in sys.path if path != str(folder)])
    with pytest.raises(MissingDependencyError, match='is not installed') as refusal:
        TensorRTRunner(bundle, plan)
    assert install in str(refusal.value)
