"""What a policy runner is, how one is picked, and the proof that it runs the trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Bundle, Golden, GOLDEN_TOLERANCE
from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import closest, ConfigError, InferenceError

Array = NDArray[np.float32]
BACKENDS = ('auto', 'tensorrt', 'onnxruntime', 'zero')
GPU_WAITS = ('spin', 'yield', 'block')


@dataclass(frozen=True)
class GpuChoices:
    """
    What a person chooses where an engine may run the network.

    ``engine`` is the name of one of the bundle's engines; empty: the newest that fits.
    ``wait`` is one of :data:`GPU_WAITS`: 'spin' asks without a pause (fastest; Python's other
    threads stand still meanwhile), 'yield' lets others in between, 'block' sleeps until the GPU
    interrupts. ``fallback``: where backend 'tensorrt' fails, take ONNX Runtime.
    """

    engine: str = ''
    wait: str = 'spin'
    fallback: bool = False


@dataclass(frozen=True)
class RunnerFacts:
    """
    What is told of a runner, and what its answers are held to.

    ``reason``: why it is this one. ``warnings``: what a person should know and mend.
    ``tolerance``: how far its raw actions may be from training's.
    """

    reason: str = ''
    warnings: tuple[str, ...] = ()
    tolerance: float = GOLDEN_TOLERANCE


class PolicyRunner(Protocol):
    """
    Runs the network from one fixed buffer into another.

    ``input`` has shape (1, observation width), ``output`` (1, action width). All calls come
    from the thread that made the runner.
    """

    name: str
    facts: RunnerFacts
    input: Array
    output: Array

    def run(self) -> None:
        """Compute ``output`` from ``input`` and advance the recurrent state."""

    def reset(self) -> None:
        """Set the recurrent state to zero."""

    def close(self) -> None:
        """Release what the runner holds; harmless when repeated."""


class ZeroRunner:
    """A network that always answers zero: for trying out a robot's plumbing."""

    name = 'zero'

    def __init__(self, contract: PolicyContract) -> None:
        """
        Allocate the buffers.

        :param contract: gives the widths.
        """
        self.facts = RunnerFacts('chosen by name')
        self.input: Array = np.zeros((1, contract.observation_width), dtype=np.float32)
        self.output: Array = np.zeros((1, contract.action_width), dtype=np.float32)

    def run(self) -> None:
        """Answer zero."""
        self.output.fill(0.0)

    def reset(self) -> None:
        """Do nothing: there is no state."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


def make_runner(backend: str, bundle: Bundle, gpu: GpuChoices | None = None) -> PolicyRunner:
    """
    Load the network with a backend, warm it up, and prove that it is the trained one.

    :param backend: one of :data:`BACKENDS`; ``auto`` takes an engine where one is there and
        TensorRT is installed, else ONNX Runtime. The runner's ``facts`` say what was taken and
        why.
    :param bundle: the policy.
    :param gpu: choices for TensorRT.
    :raises ConfigError: if the backend is not known.
    :raises InferenceError: if it cannot load the network, or the network answers otherwise
        than in training.
    :raises MissingDependencyError: if the backend is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend is '{backend}'{closest(backend, BACKENDS)}, expected one of "
                          f'{list(BACKENDS)}')
    if backend == 'zero':
        return ZeroRunner(bundle.contract)
    from sim2real_policy.backend_selection import select_runner
    return select_runner(backend, bundle, gpu or GpuChoices())


def check_golden(runner: PolicyRunner, golden: Golden,
                 tolerance: float = GOLDEN_TOLERANCE) -> float:
    """
    Compare a runner with what the training network answered.

    :param runner: the runner; its recurrent state is zero afterwards.
    :param golden: the vectors of the bundle.
    :param tolerance: largest difference allowed, in raw action.
    :returns: the largest difference seen.
    :raises InferenceError: if the difference is larger.
    """
    worst = 0.0
    for observation, expected in zip(golden.observations, golden.actions, strict=True):
        runner.reset()
        runner.input[0] = observation
        runner.run()
        difference = float(np.abs(runner.output[0] - expected).max())
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    runner.reset()
    if not worst <= tolerance:
        raise InferenceError(
            f'{runner.name} does not answer as in training: the golden actions differ by up to '
            f'{worst:.3g}, expected at most {tolerance:g}. The network is another one, or the '
            'backend computes wrongly; export the bundle again')
    return worst
