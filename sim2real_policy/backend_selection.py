"""Picks what runs the network, and says why it is that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import time

import numpy as np
from sim2real_policy.bundle import Bundle
from sim2real_policy.engine_file import ENGINES_FOLDER, find_engines, TENSORRT, world_writable
from sim2real_policy.engine_sidecar import PLAN_SUFFIX, rebuild
from sim2real_policy.errors import (
    closest,
    EngineError,
    InferenceError,
    MissingDependencyError,
    PolicyError,
)
from sim2real_policy.inference import check_golden, GpuChoices, PolicyRunner
from sim2real_policy.onnx_runner import OnnxRunner
from sim2real_policy.tensorrt_network import is_installed, tensorrt_is_installed
from sim2real_policy.tensorrt_runner import TensorRTRunner

FALLBACK_SHARE = 0.5  # of the control period, for the 99th percentile
_TIMED_RUNS = 200
_LONGEST_PAUSE = 2e-3  # s; long enough for caches to cool down a little
_NANOSECONDS = 1e9


def select_runner(backend: str, bundle: Bundle, gpu: GpuChoices) -> PolicyRunner:
    """
    Make the runner of a backend and prove it; its ``facts`` say why it is that one.

    :param backend: 'auto', 'tensorrt' or 'onnxruntime'.
    :param bundle: the policy.
    :param gpu: choices for TensorRT.
    :raises InferenceError: if nothing that is allowed can run the network.
    :raises MissingDependencyError: if what was asked for is not installed.
    """
    if backend == 'onnxruntime':
        return _proven(OnnxRunner(bundle), bundle)
    if backend == 'auto':
        lacking = _lacking(bundle, gpu)
        if lacking is not None:
            runner = _proven(OnnxRunner(bundle), bundle)
            runner.facts = replace(runner.facts, reason=lacking[0], warnings=lacking[1])
            return runner
    try:
        return _newest_fitting(bundle, gpu)
    except (InferenceError, MissingDependencyError) as error:
        if backend == TENSORRT and not gpu.fallback:
            raise
        return _fallback(bundle, error)


def _lacking(bundle: Bundle, gpu: GpuChoices) -> tuple[str, tuple[str, ...]] | None:
    """
    Tell why there is no question of TensorRT, with a warning where half of it is there.

    :returns: reason and warnings, or None where it can be tried.
    """
    absent = [] if tensorrt_is_installed() else ['TensorRT']
    absent += [] if is_installed('pycuda') else ['pycuda']
    wanted = bool(gpu.engine) or bool(find_engines(bundle.folder))
    if not absent and wanted:
        return None
    if absent and not wanted:
        return f"no engine in {ENGINES_FOLDER}/, and without {' and '.join(absent)}", ()
    if absent:
        reason = f"there is an engine, but {' and '.join(absent)} cannot be imported here"
        return reason, (f'the engine is not used: {reason}; the network runs on the CPU. '
                        'docs/tensorrt.md says how to install them',)
    reason = f'TensorRT is installed, but {bundle.folder / ENGINES_FOLDER} has no engine'
    return reason, (f'{reason}; the network runs on the CPU. To build one: python '
                    f'tools/build_engine.py {bundle.folder}',)


def _proven(runner: PolicyRunner, bundle: Bundle) -> PolicyRunner:
    try:
        check_golden(runner, bundle.golden, runner.facts.tolerance)
    except InferenceError:
        runner.close()
        raise
    return runner


def _newest_fitting(bundle: Bundle, gpu: GpuChoices) -> PolicyRunner:
    """Return the first engine that loads and answers as in training; tell what others lack."""
    refused: list[str] = []
    plans = _plans(bundle, gpu.engine)
    for plan in plans:
        try:
            runner = _proven(TensorRTRunner(bundle, plan, gpu.wait), bundle)
        except MissingDependencyError:
            raise
        except InferenceError as error:
            refused.append(str(error))
            continue
        warnings = [f'a newer engine was refused: {reason}' for reason in refused]
        if world_writable(plan):
            warnings.append(f'{plan} can be changed by every user of this machine, and an engine '
                            f'is executable code; run: chmod o-w {plan.parent} {plan}')
        runner.facts = replace(runner.facts, warnings=(*warnings, *runner.facts.warnings))
        return runner
    if len(refused) == 1:
        raise EngineError(refused[0])
    raise EngineError(f'none of the {len(refused)} engines in {plans[0].parent} can be used. The '
                      f'newest one: {refused[0]}')


def _plans(bundle: Bundle, name: str) -> list[Path]:
    plans = find_engines(bundle.folder)
    if not name:
        if not plans:
            raise EngineError(f'there is no engine in {bundle.folder / ENGINES_FOLDER}; '
                              f'{rebuild(bundle.folder)}')
        return plans
    wanted = [plan for plan in plans if name in (plan.name, plan.stem)]
    if not wanted:
        names = sorted(plan.stem for plan in plans)
        raise EngineError(f"there is no engine '{name.removesuffix(PLAN_SUFFIX)}'"
                          f'{closest(name, names)} in {bundle.folder / ENGINES_FOLDER}, there '
                          f'are {names}; leave the parameter engine empty, or '
                          f'{rebuild(bundle.folder)}')
    return wanted


def _fallback(bundle: Bundle, cause: PolicyError) -> PolicyRunner:
    """Take ONNX Runtime after all, if it is fast enough for the robot."""
    runner = _proven(OnnxRunner(bundle), bundle)
    period = bundle.contract.control_period
    p99 = measured_p99(runner, bundle)
    if p99 > FALLBACK_SHARE * period:
        runner.close()
        raise InferenceError(
            f'{cause}. ONNX Runtime cannot stand in for it here: it takes {p99 * 1e3:.3g} ms '
            f'(99th percentile), allowed is half of the control period, '
            f'{FALLBACK_SHARE * period * 1e3:.3g} ms')
    runner.facts = replace(
        runner.facts, reason=f'fallback, {p99 * 1e3:.3g} ms (99th percentile): {cause}',
        warnings=(f'TensorRT is not used, the network runs on the CPU instead: {cause}',))
    return runner


def measured_p99(runner: PolicyRunner, bundle: Bundle) -> float:
    """
    Return how long an inference takes with pauses between, 99th percentile [s].

    :param runner: its recurrent state is zero afterwards.
    :param bundle: gives observations and the control period.
    """
    observations = bundle.golden.observations
    pause = min(bundle.contract.control_period, _LONGEST_PAUSE)
    durations = []
    for number in range(_TIMED_RUNS):
        time.sleep(pause)
        runner.input[0] = observations[number % len(observations)]
        begin = time.perf_counter_ns()
        runner.run()
        durations.append(time.perf_counter_ns() - begin)
    runner.reset()
    return float(np.percentile(durations, 99.0)) / _NANOSECONDS
