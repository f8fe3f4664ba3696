"""
Measures one inference, from the observation in the CPU's memory to the action in it.

Hot: one after another. Paced: at 50 Hz, as on a robot, where caches cool down and clocks drop in
between. Busy: paced, while another Python thread computes without a pause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import gc
import importlib
import importlib.util
import json
import os
from pathlib import Path
import sys
import tempfile
import threading
import time
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import engines
import numpy as np
import onnx
import pipelines
import policies
from sim2real_policy.cuda_device import open_device
from sim2real_policy.inference import check_golden, GPU_WAITS
from sim2real_policy.onnx_runner import OnnxRunner
from sim2real_policy.pacing import DeadlinePacer, sharpen_timers
from sim2real_policy.tensorrt_runner import TensorRTRunner

PERIOD = 0.02  # s
WARM_UP, HOT_TICKS, PACED_TICKS, BUSY_TICKS = 300, 5000, 500, 150
MICROSECONDS = 1e-3
Tick = Callable[[], Any]


def import_tensorrt() -> Any:
    """Return TensorRT, or what stands in for it."""
    if importlib.util.find_spec('tensorrt') is None:
        sys.path.insert(0, str(HERE / 'standin'))
    return importlib.import_module('tensorrt')


def timed(tick: Tick) -> float:
    """Return how long a tick takes [us]."""
    begin = time.perf_counter_ns()
    tick()
    return (time.perf_counter_ns() - begin) * MICROSECONDS


def hot(tick: Tick) -> Any:
    """Measure one after another [us]."""
    for _ in range(WARM_UP):
        tick()
    return np.array([timed(tick) for _ in range(HOT_TICKS)])


def paced(tick: Tick, ticks: int = PACED_TICKS) -> Any:
    """Measure at 50 Hz [us]."""
    for _ in range(WARM_UP):
        tick()
    pacer, durations = DeadlinePacer(PERIOD), []
    for _ in range(ticks):
        pacer.wait()
        durations.append(timed(tick))
    return np.array(durations)


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """Let another thread of this process hold Python's lock as often as it can."""
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            sum(range(1000))
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def torch_ticks(bundle: Any, row: Any) -> dict[str, Tick]:
    """Return the same network in PyTorch on the GPU: eager, and recorded with its copies."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    layers: list[Any] = []
    weights = {item.name: onnx.numpy_helper.to_array(item)
               for item in onnx.load(bundle.onnx_path).graph.initializer}
    for index in range(len(weights) // 2):
        weight = weights[f'w{index}']
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data = torch.tensor(weight)
        layer.bias.data = torch.tensor(weights[f'b{index}'])
        layers += [layer, torch.nn.ELU()]
    network = torch.nn.Sequential(*layers[:-1]).cuda().eval().requires_grad_(False)
    seen = torch.zeros((1, policies.OBSERVATIONS)).pin_memory()
    answer = torch.zeros((1, policies.ACTIONS)).pin_memory()
    view, on_gpu = seen.numpy(), torch.zeros_like(seen, device='cuda')
    stream = torch.cuda.Stream()

    def work() -> None:
        on_gpu.copy_(seen, non_blocking=True)
        answer.copy_(network(on_gpu), non_blocking=True)

    def eager() -> None:
        view[0] = row
        with torch.cuda.stream(stream):
            work()
        stream.synchronize()
    for _ in range(10):
        eager()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work()

    def replay() -> None:
        view[0] = row
        with torch.cuda.stream(stream):
            graph.replay()
        stream.synchronize()
    for tick in (eager, replay):
        answer.zero_()
        tick()
        expected = policies.Answers(bundle.onnx_path)(row)
        assert np.abs(answer.numpy()[0] - expected).max() < 1e-3, 'PyTorch answers otherwise'
    return {'PyTorch eager, GPU': eager, 'PyTorch CUDA graph, GPU': replay}


def runner_tick(runner: Any, row: Any) -> Tick:
    """Return one inference of a runner."""
    def tick() -> None:
        runner.input[0] = row
        runner.run()
    return tick


def main() -> int:
    """Measure everything and write the table."""
    trt = import_tensorrt()
    sharpen_timers()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = policies.make_bundle(Path(folder) / 'bundle')
        plan = engines.build(trt, bundle)
        row = bundle.golden.observations[0]
        standin = '' if 'standin' not in str(trt.__file__) else \
            ' (stand-in engine: kernels of test/gpu, not TensorRT)'
        sys.stdout.write(f'{open_device().name}, {os.cpu_count()} CPU cores, MLP '
                         f'45-512-256-128-12, batch 1, fp32, TensorRT {trt.__version__}{standin}'
                         '\n\n')
        onnx_runner = OnnxRunner(bundle)
        measure('ONNX Runtime, CPU', runner_tick(onnx_runner, row), results)
        for name, tick in torch_ticks(bundle, row).items():
            measure(name, tick, results)
        for graph in (False, True):
            for mapped in (False, True):
                for wait in GPU_WAITS:
                    runner = TensorRTRunner(bundle, plan, wait, mapped, graph)
                    check_golden(runner, bundle.golden)
                    name = ', '.join(['runner', 'graph' if graph else 'plain',
                                      'mapped' if mapped else 'copies', wait])
                    measure(name, runner_tick(runner, row), results, busy=graph and not mapped)
                    runner.close()
        runner = TensorRTRunner(bundle, plan)
        measure('whole tick, runner (default)', pipelines.Robot(bundle, runner).tick, results)
        measure('whole tick, ONNX Runtime', pipelines.Robot(bundle, onnx_runner).tick, results)
        runner.close()
    write_table(results)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    return 0


def measure(name: str, tick: Tick, results: dict[str, dict[str, float]],
            busy: bool = True) -> None:
    """Measure one variant in all ways."""
    sys.stderr.write(f'{name} ...\n')
    gc.collect()
    series = {'hot': hot(tick), 'paced': paced(tick)}
    if busy:
        with busy_neighbour():
            series['busy'] = paced(tick, BUSY_TICKS)
    results[name] = {f'{kind} {label}': float(np.percentile(values, percent))
                     for kind, values in series.items()
                     for label, percent in (('p50', 50.0), ('p99', 99.0), ('max', 100.0))}


def write_table(results: dict[str, dict[str, float]]) -> None:
    """Write all as Markdown."""
    columns = ['hot p50', 'hot p99', 'paced p50', 'paced p99', 'paced max', 'busy p50',
               'busy p99']
    sys.stdout.write('| [us] | ' + ' | '.join(columns) + ' |\n')
    sys.stdout.write('|---' * (len(columns) + 1) + '|\n')
    for name, values in results.items():
        cells = [f'{values[column]:.1f}' if column in values else '' for column in columns]
        sys.stdout.write(f'| {name} | ' + ' | '.join(cells) + ' |\n')


if __name__ == '__main__':
    sys.exit(main())
