"""Rule: a runner is picked by name, and proves that it runs the trained network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import ConfigError, InferenceError
from sim2real_policy.inference import (
    BACKENDS,
    check_golden,
    make_runner,
    RunnerFacts,
    ZeroRunner,
)
from sim2real_policy.onnx_runner import OnnxRunner

F32 = NDArray[np.float32]


class Adder:
    """A recurrent runner: each answer is the sum of all that it saw since the last reset."""

    name = 'adder'
    facts = RunnerFacts()

    def __init__(self, contract: PolicyContract) -> None:
        self.input: F32 = np.zeros((1, contract.observation_width), dtype=np.float32)
        self.output: F32 = np.zeros((1, contract.action_width), dtype=np.float32)
        self.sum = 0.0

    def run(self) -> None:
        self.sum += float(self.input.sum())
        self.output[:] = self.sum

    def reset(self) -> None:
        self.sum = 0.0

    def close(self) -> None:
        pass


@pytest.mark.parametrize(('backend', 'hint'), [
    ('onnxruntim', " (did you mean 'onnxruntime'?)"), ('Zero', " (did you mean 'zero'?)"),
    ('torch', ''), ('', '')])
def test_unknown_backend_is_refused_with_the_closest_and_all_names(
        bundle: Bundle, backend: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        make_runner(backend, bundle)
    assert str(refusal.value) == \
        f"backend is '{backend}'{hint}, expected one of {list(BACKENDS)}"


def test_onnxruntime_is_picked_by_name_and_answers_as_in_training(bundle: Bundle) -> None:
    runner = make_runner('onnxruntime', bundle)
    assert runner.name == 'onnxruntime'
    assert check_golden(runner, bundle.golden) < 1e-6
    runner.close()


def test_auto_takes_a_backend_that_proves_itself(bundle: Bundle) -> None:
    assert make_runner('auto', bundle).name != 'zero'
    wrong = replace(bundle, golden=replace(bundle.golden, actions=bundle.golden.actions + 1.0))
    with pytest.raises(InferenceError):
        make_runner('auto', wrong)


def test_zero_answers_zero_and_proves_nothing(bundle: Bundle) -> None:
    wrong = replace(bundle, golden=replace(bundle.golden, actions=bundle.golden.actions + 1.0))
    runner = make_runner('zero', wrong)
    assert runner.name == 'zero'
    assert runner.input.shape == (1, 18)
    runner.output.fill(7.0)
    runner.input.fill(3.0)
    runner.run()
    assert runner.output.tolist() == [[0.0, 0.0, 0.0]]
    runner.reset()
    runner.close()
    runner.close()


@pytest.mark.parametrize(('difference', 'text'), [
    (0.25, '0.25'), (-0.25, '0.25'), (0.0002, '0.0002')])
def test_network_that_answers_otherwise_is_refused_with_the_difference(
        bundle: Bundle, difference: float, text: str) -> None:
    actions = bundle.golden.actions.copy()
    actions[-1, 1] += difference
    with pytest.raises(InferenceError) as refusal:
        make_runner('onnxruntime', replace(bundle, golden=replace(bundle.golden,
                                                                  actions=actions)))
    assert str(refusal.value).startswith(
        'onnxruntime does not answer as in training: the golden actions differ by up to '
        f'{text}, expected at most 0.0001. ')


def test_other_network_of_the_same_shape_is_refused(
        make_bundle: Callable[..., Path], identity_weight: F32) -> None:
    other = identity_weight.copy()
    other[[6, 7, 8]] = identity_weight[[8, 7, 6]]
    with pytest.raises(InferenceError, match='does not answer as in training'):
        make_runner('onnxruntime', load_bundle(make_bundle(golden_weight=other)))


def test_largest_difference_is_returned_and_the_tolerance_is_the_caller_s(
        bundle: Bundle) -> None:
    runner = make_runner('onnxruntime', bundle)
    golden = replace(bundle.golden, actions=bundle.golden.actions + np.float32(0.25))
    assert check_golden(runner, golden, tolerance=0.26) == pytest.approx(0.25, abs=1e-6)


def test_difference_may_be_as_large_as_the_tolerance(
        bundle: Bundle, contract: PolicyContract) -> None:
    golden = replace(bundle.golden, actions=np.full((5, 3), 0.25, dtype=np.float32))
    assert check_golden(ZeroRunner(contract), golden, tolerance=0.25) == 0.25
    with pytest.raises(InferenceError, match=r'zero .* by up to 0\.25, expected at most 0\.24'):
        check_golden(ZeroRunner(contract), golden, tolerance=0.24)


def test_refused_runner_is_closed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[OnnxRunner] = []
    monkeypatch.setattr(OnnxRunner, 'close', lambda runner: closed.append(runner))
    wrong = replace(bundle, golden=replace(bundle.golden, actions=bundle.golden.actions + 1.0))
    with pytest.raises(InferenceError):
        make_runner('onnxruntime', wrong)
    assert len(closed) == 1


@pytest.mark.parametrize('answer', [math.nan, math.inf])
def test_answer_that_is_no_number_is_refused(
        bundle: Bundle, contract: PolicyContract, answer: float) -> None:
    runner = ZeroRunner(contract)
    runner.run = lambda: runner.output.fill(answer)  # type: ignore[method-assign]
    with pytest.raises(InferenceError, match='differ by up to inf'):
        check_golden(runner, bundle.golden, tolerance=1e9)


def test_each_golden_observation_is_a_new_life_and_so_is_what_comes_after(
        bundle: Bundle, contract: PolicyContract) -> None:
    golden = replace(bundle.golden, observations=np.ones((3, 18), dtype=np.float32),
                     actions=np.full((3, 3), 18.0, dtype=np.float32))
    runner = Adder(contract)
    runner.sum = 5.0
    assert check_golden(runner, golden) == 0.0
    assert runner.sum == 0.0
