"""Rule: on a GPU the runner answers as ONNX Runtime does, in every mode, and keeps nothing."""

from __future__ import annotations

from collections.abc import Callable
import gc
import os
from pathlib import Path
import threading
from typing import Any

import numpy as np
import pytest
from sim2real_policy import cuda_device
from sim2real_policy.errors import EngineError
from sim2real_policy.inference import check_golden, GPU_WAITS, GpuChoices, make_runner
from sim2real_policy.onnx_runner import OnnxRunner
from sim2real_policy.tensorrt_runner import TensorRTRunner

TOLERANCE = 1e-5
PAGE = os.sysconf('SC_PAGE_SIZE')
MIB = 1 << 20
MakeEngine = Callable[..., Any]


def resident() -> int:
    """Give the memory of this process [bytes]."""
    return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * PAGE


@pytest.mark.parametrize('wait', GPU_WAITS)
@pytest.mark.parametrize('mapped', [False, True], ids=['copies', 'mapped'])
@pytest.mark.parametrize('graph', [False, True], ids=['plain', 'graph'])
def test_answers_equal_onnx_runtimes(make_engine: MakeEngine, graph: bool, mapped: bool,
                                     wait: str) -> None:
    bundle, plan = make_engine()
    runner = TensorRTRunner(bundle, plan, wait, mapped, graph)
    assert ('CUDA graph' if graph else 'plain enqueue') in runner.facts.reason
    assert ('mapped memory' if mapped else 'copies') in runner.facts.reason
    assert check_golden(runner, bundle.golden, TOLERANCE) <= TOLERANCE
    # Each answer belongs to its own input: no tick may see the one before.
    ask = OnnxRunner(bundle)
    for row in np.random.default_rng(5).normal(size=(1000, 45)).astype(np.float32):
        runner.input[0] = ask.input[0] = row
        runner.run()
        ask.run()
        np.testing.assert_allclose(runner.output, ask.output, atol=TOLERANCE, rtol=0.0)
    runner.close()


def test_open_batch(make_engine: MakeEngine) -> None:
    bundle, plan = make_engine(batch='batch')
    runner = TensorRTRunner(bundle, plan)
    assert runner.input.shape == (1, 45)
    assert check_golden(runner, bundle.golden, TOLERANCE) <= TOLERANCE
    runner.close()


@pytest.mark.parametrize('mapped', [False, True], ids=['copies', 'mapped'])
def test_half_precision_inputs_and_outputs(make_engine: MakeEngine, mapped: bool) -> None:
    bundle, plan = make_engine('fp16', dtype=np.float16)
    runner = TensorRTRunner(bundle, plan, mapped=mapped)
    assert 0.0 < check_golden(runner, bundle.golden, runner.facts.tolerance)
    runner.close()


@pytest.mark.parametrize('graph', [False, True], ids=['plain', 'graph'])
def test_recurrent_state_stays_on_the_gpu_and_is_reset(make_engine: MakeEngine,
                                                       graph: bool) -> None:
    bundle, plan = make_engine(recurrent=True)
    runner, ask = TensorRTRunner(bundle, plan, graph=graph), OnnxRunner(bundle)
    for _ in range(3):
        for row in np.random.default_rng(6).normal(size=(50, 45)).astype(np.float32):
            runner.input[0] = ask.input[0] = row
            runner.run()
            ask.run()
            np.testing.assert_allclose(runner.output, ask.output, atol=TOLERANCE, rtol=0.0)
        runner.reset()
        ask.reset()
    runner.close()


def test_a_hundred_thousand_ticks_leak_nothing(make_engine: MakeEngine, cuda: Any) -> None:
    bundle, plan = make_engine()
    runner = TensorRTRunner(bundle, plan)

    def run(ticks: int) -> tuple[int, int]:
        for _ in range(ticks):
            runner.run()
        gc.collect()
        with cuda_device.open_device():
            return cuda.mem_get_info()[0], resident()
    free, used = run(1000)
    later_free, later_used = run(100_000)
    assert later_free == free
    assert later_used - used < MIB
    runner.close()


def test_opening_and_closing_a_hundred_times_leaks_nothing(make_engine: MakeEngine,
                                                           cuda: Any) -> None:
    bundle, plan = make_engine()

    def cycle(times: int) -> tuple[int, int]:
        for _ in range(times):
            runner = TensorRTRunner(bundle, plan)
            kept = runner.output[0]
            runner.close()
            assert np.isfinite(kept).all()
        del runner, kept
        gc.collect()
        with cuda_device.open_device() as device:
            device.collect()
            assert not device._lent
            return cuda.mem_get_info()[0], resident()
    free, used = cycle(10)
    later_free, later_used = cycle(100)
    assert later_free == free
    assert later_used - used < 8 * MIB


def test_runners_of_two_threads_do_not_disturb_each_other(make_engine: MakeEngine) -> None:
    bundle, plan = make_engine()
    worst: list[float] = []

    def work(wait: str) -> None:
        runner = TensorRTRunner(bundle, plan, wait)
        try:
            worst.extend(check_golden(runner, bundle.golden, TOLERANCE) for _ in range(50))
        finally:
            runner.close()
    threads = [threading.Thread(target=work, args=(wait,)) for wait in GPU_WAITS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 150
    assert max(worst) <= TOLERANCE


def test_a_library_in_the_same_primary_context_works_beside_it(make_engine: MakeEngine) -> None:
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    if not torch.cuda.is_available():
        pytest.skip('this PyTorch has no CUDA')
    bundle, plan = make_engine()
    runner = TensorRTRunner(bundle, plan)
    numbers = torch.arange(1000.0, device='cuda')
    for _ in range(20):
        check_golden(runner, bundle.golden, TOLERANCE)
        assert float((numbers * 2.0).sum()) == 999_000.0
    runner.close()
    assert float(numbers.sum()) == 499_500.0


def test_the_robots_tick_sends_the_same_targets_as_with_onnx_runtime(
        make_engine: MakeEngine) -> None:
    import pipelines
    bundle, plan = make_engine()
    runner = TensorRTRunner(bundle, plan)
    robot, other = pipelines.Robot(bundle, runner), pipelines.Robot(bundle, OnnxRunner(bundle))
    assert robot.pipeline.check_chain(bundle.golden) < TOLERANCE
    other.pipeline.check_chain(bundle.golden)
    targets = [(robot.tick(), other.tick()) for _ in range(500)]
    np.testing.assert_allclose(*np.transpose(targets, (1, 0, 2)), atol=TOLERANCE, rtol=0.0)
    assert np.ptp([target for target, _ in targets]) > 0.1
    runner.close()


def test_auto_takes_the_engine_and_says_so(make_engine: MakeEngine) -> None:
    bundle, plan = make_engine()
    runner = make_runner('auto', bundle, GpuChoices(wait='block'))
    assert runner.name == 'tensorrt'
    assert runner.facts.reason.startswith(f'engine {plan.name} (fp32, TensorRT')
    assert runner.facts.reason.endswith('block')
    runner.close()


def test_an_engine_that_tensorrt_cannot_read_is_refused_with_its_reason(
        make_engine: MakeEngine) -> None:
    import engines
    bundle, plan = make_engine()
    damaged = plan.with_name('damaged.plan')
    content = bytearray(plan.read_bytes())
    content[32:] = bytes(len(content) - 32)
    damaged.write_bytes(content)
    try:
        engines.write_note(damaged, bundle)
        with pytest.raises(EngineError, match='could not make the engine; TensorRT says: ') \
                as refusal:
            TensorRTRunner(bundle, damaged)
        assert 'python tools/build_engine.py' in str(refusal.value)
    finally:
        for path in plan.parent.glob('damaged.*'):
            path.unlink()
    TensorRTRunner(bundle, plan).close()


def test_where_recording_fails_the_work_is_enqueued_plainly(
        make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that the driver forbids while a stream is recorded spoils the recording."""
    bundle, plan = make_engine()
    record = cuda_device.CudaGraph._record

    def spoilt(graph: Any, enqueue: Callable[[], None]) -> Any:
        def with_allocation() -> None:
            enqueue()
            cuda_device.open_device().cuda.mem_alloc(256)
        return record(graph, with_allocation)
    monkeypatch.setattr(cuda_device.CudaGraph, '_record', spoilt)
    runner = TensorRTRunner(bundle, plan)
    assert 'plain enqueue, since no CUDA graph could be recorded' in runner.facts.reason
    assert check_golden(runner, bundle.golden, TOLERANCE) <= TOLERANCE
    runner.close()
