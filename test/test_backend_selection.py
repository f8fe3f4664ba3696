"""
Rule: what runs the network is what was asked for, or a warning and never a surprise.

ONNX Runtime is the real one here; TensorRT is replaced by runners that fail, lie or answer well.
"""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import sys
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from sim2real_policy import backend_selection
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.engine_file import ENGINES_FOLDER
from sim2real_policy.errors import (
    ConfigError,
    EngineError,
    InferenceError,
    MissingDependencyError,
)
from sim2real_policy.inference import GpuChoices, make_runner, RunnerFacts
from sim2real_policy.onnx_runner import OnnxRunner
from tiny_bundle import make_tiny_bundle

BROKEN = 'the GPU is on fire; rebuild it'
FALLBACK = GpuChoices(fallback=True)


class FakeTensorRT(OnnxRunner):
    """Answers as ONNX Runtime, under another name; fails for some engines, lies for others."""

    name = 'tensorrt'
    opened: ClassVar[list[tuple[str, str]]] = []
    closed: ClassVar[list[str]] = []

    def __init__(self, bundle: Bundle, plan: Path, wait: str) -> None:
        FakeTensorRT.opened.append((plan.stem, wait))
        self.plan = plan.stem
        if 'broken' in plan.stem:
            raise EngineError(BROKEN)
        if 'missing' in plan.stem:
            raise MissingDependencyError('pycuda', 'to run a TensorRT engine', 'pip')
        super().__init__(bundle)
        self.facts = RunnerFacts(f'engine {plan.name}', ('TensorRT: other model',),
                                 0.5 if 'half' in plan.stem else 1e-4)

    def run(self) -> None:
        super().run()
        self.output += {'wrong': 1.0, 'half': 0.25}.get(self.plan.split('_')[0], 0.0)

    def close(self) -> None:
        FakeTensorRT.closed.append(self.plan)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fake in the place of the runner."""
    monkeypatch.setattr(FakeTensorRT, 'opened', [])
    monkeypatch.setattr(FakeTensorRT, 'closed', [])
    monkeypatch.setattr(backend_selection, 'TensorRTRunner', FakeTensorRT)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that sets what seems to be installed; at first both are."""
    def install(tensorrt: bool, pycuda: bool) -> None:
        monkeypatch.setattr(backend_selection, 'tensorrt_is_installed', lambda: tensorrt)
        monkeypatch.setattr(backend_selection, 'is_installed', lambda module: pycuda)
    install(tensorrt=True, pycuda=True)
    return install


@pytest.fixture
def bundle(tmp_path: Path, installed: Callable[..., None]) -> Bundle:
    """Give a bundle without engines."""
    return load_bundle(make_tiny_bundle(tmp_path / 'bundle'))


def add_engine(bundle: Bundle, name: str, age: float = 0.0) -> Path:
    """Put a file there that has an engine's name; ``age`` orders them [s]."""
    plan = bundle.folder / ENGINES_FOLDER / f'{name}.plan'
    plan.parent.mkdir(exist_ok=True)
    plan.parent.chmod(0o755)
    plan.write_bytes(b'plan')
    plan.chmod(0o644)
    os.utime(plan, (1e9 - age, 1e9 - age))
    return plan


def test_tensorrt_is_the_engine_that_is_there(bundle: Bundle) -> None:
    add_engine(bundle, 'good')
    runner = make_runner('tensorrt', bundle, GpuChoices(wait='block'))
    assert runner.name == 'tensorrt'
    assert runner.facts == RunnerFacts('engine good.plan', ('TensorRT: other model',), 1e-4)
    assert FakeTensorRT.opened == [('good', 'block')]


def test_the_newest_engine_is_taken(bundle: Bundle) -> None:
    add_engine(bundle, 'old', age=100.0)
    add_engine(bundle, 'new')
    assert make_runner('tensorrt', bundle).facts.reason == 'engine new.plan'


@pytest.mark.parametrize('unfit', ['broken', 'wrong'])
def test_an_older_engine_is_taken_where_the_newer_does_not_fit_and_that_is_said(
        bundle: Bundle, unfit: str) -> None:
    add_engine(bundle, 'old', age=100.0)
    add_engine(bundle, unfit)
    runner = make_runner('tensorrt', bundle)
    assert runner.facts.reason == 'engine old.plan'
    assert runner.facts.warnings[0].startswith('a newer engine was refused: ')


@pytest.mark.parametrize('name', ['old', 'old.plan'])
def test_the_engine_that_is_named_is_the_only_one_tried(bundle: Bundle, name: str) -> None:
    add_engine(bundle, 'old', age=100.0)
    add_engine(bundle, 'new')
    assert make_runner('tensorrt', bundle, GpuChoices(engine=name)).facts.reason \
        == 'engine old.plan'
    assert [plan for plan, _ in FakeTensorRT.opened] == ['old']


def test_an_unknown_engine_is_refused_with_the_names_there_are(bundle: Bundle) -> None:
    add_engine(bundle, 'orin_fp16')
    with pytest.raises(EngineError, match=r"there is no engine 'orin_fp32' \(did you mean "
                       r"'orin_fp16'\?\) .* there are \['orin_fp16'\]"):
        make_runner('tensorrt', bundle, GpuChoices(engine='orin_fp32'))


def test_without_an_engine_tensorrt_is_refused_with_the_way_to_build_one(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r'there is no engine in .*engines; rebuild .*'
                       r'python tools/build_engine\.py'):
        make_runner('tensorrt', bundle)


def test_every_engine_refused_is_one_sentence_about_the_newest(bundle: Bundle) -> None:
    add_engine(bundle, 'wrong', age=100.0)
    add_engine(bundle, 'broken')
    with pytest.raises(EngineError, match=r'none of the 2 engines .* The newest one: the GPU is'):
        make_runner('tensorrt', bundle)
    assert FakeTensorRT.closed == ['wrong']


def test_a_wrong_answer_is_no_fallback_without_permission(bundle: Bundle) -> None:
    add_engine(bundle, 'wrong')
    with pytest.raises(InferenceError, match='tensorrt does not answer as in training'):
        make_runner('tensorrt', bundle)


def test_the_tolerance_is_the_runners_own(bundle: Bundle) -> None:
    """0.25 off is too much for fp32 (1e-4), and allowed where the runner says 0.5."""
    add_engine(bundle, 'half_precision')
    assert make_runner('tensorrt', bundle).facts.tolerance == 0.5


@pytest.mark.parametrize(('engine', 'cause'), [
    ('broken', BROKEN), ('wrong', 'does not answer as in training'),
    ('missing', 'pycuda is not installed'), (None, 'there is no engine in')])
def test_with_permission_onnx_runtime_stands_in_and_says_so_loudly(
        bundle: Bundle, engine: str | None, cause: str) -> None:
    if engine:
        add_engine(bundle, engine)
    runner = make_runner('tensorrt', bundle, FALLBACK)
    assert runner.name == 'onnxruntime'
    assert runner.facts.reason.startswith('fallback, ')
    assert cause in runner.facts.reason
    [warning] = runner.facts.warnings
    assert warning.startswith('TensorRT is not used, the network runs on the CPU instead: ')
    assert cause in warning


def test_auto_has_that_permission(bundle: Bundle) -> None:
    add_engine(bundle, 'broken')
    runner = make_runner('auto', bundle)
    assert runner.name == 'onnxruntime'
    assert BROKEN in runner.facts.warnings[0]


@pytest.mark.parametrize('backend', ['auto', 'tensorrt'])
def test_a_stand_in_that_is_too_slow_is_refused(bundle: Bundle, backend: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """The period is 20 ms: 10 ms are allowed, 10.1 ms are not."""
    add_engine(bundle, 'broken')
    monkeypatch.setattr(backend_selection, 'measured_p99', lambda runner, bundle: 0.0099)
    assert make_runner(backend, bundle, FALLBACK).name == 'onnxruntime'
    monkeypatch.setattr(backend_selection, 'measured_p99', lambda runner, bundle: 0.0101)
    with pytest.raises(InferenceError) as refusal:
        make_runner(backend, bundle, FALLBACK)
    assert str(refusal.value) == (
        f'{BROKEN}. ONNX Runtime cannot stand in for it here: it takes 10.1 ms (99th '
        'percentile), allowed is half of the control period, 10 ms')


def test_the_stand_in_is_really_timed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 of 200 runs are slow, which is more than one in a hundred; 1 of 200 is not."""
    clock, runs = [0], [0]
    slow_runs = {10, 20, 30}

    class Slow(OnnxRunner):
        def run(self) -> None:
            super().run()
            runs[0] += 1
            clock[0] += 8_000_000 if runs[0] in slow_runs else 50_000
    runner = Slow(bundle)
    monkeypatch.setattr(backend_selection.time, 'sleep', lambda seconds: None)
    monkeypatch.setattr(backend_selection.time, 'perf_counter_ns', lambda: clock[0])
    runs[0] = 0
    assert backend_selection.measured_p99(runner, bundle) == pytest.approx(8e-3)
    slow_runs -= {20, 30}
    runs[0] = 0
    assert backend_selection.measured_p99(runner, bundle) == pytest.approx(50e-6)


@pytest.mark.parametrize(('tensorrt', 'pycuda', 'engine', 'reason', 'warning'), [
    (False, False, False, 'no engine in engines/, and without TensorRT and pycuda', ''),
    (True, False, False, 'no engine in engines/, and without pycuda', ''),
    (True, True, False, 'TensorRT is installed, but ', 'python tools/build_engine.py'),
    (False, True, True, 'there is an engine, but TensorRT cannot be imported here',
     'the engine is not used'),
    (False, False, True, 'there is an engine, but TensorRT and pycuda cannot be imported here',
     'docs/tensorrt.md')])
def test_auto_says_why_it_is_onnx_runtime_and_warns_where_half_of_it_is_there(
        bundle: Bundle, installed: Callable[..., None], tensorrt: bool, pycuda: bool,
        engine: bool, reason: str, warning: str) -> None:
    installed(tensorrt=tensorrt, pycuda=pycuda)
    if engine:
        add_engine(bundle, 'good')
    runner = make_runner('auto', bundle)
    assert runner.name == 'onnxruntime'
    assert runner.facts.reason.startswith(reason)
    assert len(runner.facts.warnings) == (1 if warning else 0)
    assert all(warning in text for text in runner.facts.warnings)
    assert FakeTensorRT.opened == []


def test_auto_takes_a_good_engine(bundle: Bundle) -> None:
    add_engine(bundle, 'good')
    assert make_runner('auto', bundle).name == 'tensorrt'


def test_an_engine_that_everybody_may_change_is_warned_of(bundle: Bundle) -> None:
    plan = add_engine(bundle, 'good')
    plan.chmod(0o666)
    warning = make_runner('tensorrt', bundle).facts.warnings[0]
    assert 'can be changed by every user' in warning
    assert 'an engine is executable code' in warning
    assert f'chmod o-w {plan.parent} {plan}' in warning


def test_onnx_runtime_and_zero_are_what_was_asked_for(bundle: Bundle) -> None:
    add_engine(bundle, 'good')
    for backend in ('onnxruntime', 'zero'):
        runner = make_runner(backend, bundle)
        assert (runner.name, runner.facts.reason, runner.facts.warnings) \
            == (backend, 'chosen by name', ())


def test_unknown_backends_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"backend is 'tensorr' \(did you mean 'tensorrt'\?\)"):
        make_runner('tensorr', bundle)


def test_a_wrong_network_is_refused_in_onnx_runtime_too(
        bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Liar(OnnxRunner):
        def run(self) -> None:
            super().run()
            self.output += np.float32(1.0)
    monkeypatch.setattr(backend_selection, 'OnnxRunner', Liar)
    add_engine(bundle, 'broken')
    with pytest.raises(InferenceError, match='onnxruntime does not answer as in training'):
        make_runner('auto', bundle)


def test_importing_all_of_it_needs_neither_tensorrt_nor_pycuda() -> None:
    import subprocess
    code = ('import sys\n'
            'for name in ("tensorrt", "tensorrt_rtx", "pycuda"): sys.modules[name] = None\n'
            'import sim2real_policy.tensorrt_runner, sim2real_policy.backend_selection\n')
    result: Any = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                                 cwd=Path(__file__).parents[1], check=False)
    assert (result.returncode, result.stderr) == (0, '')
