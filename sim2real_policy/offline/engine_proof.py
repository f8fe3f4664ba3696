"""Compares an engine, or a converted network, with the network itself in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Bundle
from sim2real_policy.engine_sidecar import Proof, TOLERANCE
from sim2real_policy.errors import MissingDependencyError, PolicyError
from sim2real_policy.offline.onnx_session import open_session

F32 = NDArray[np.float32]
OpenRunner = Callable[[Bundle, Path], Any]
RANDOM_ROWS = 500
_SEED = 20240229  # fixed: the proof of one engine is the same every time


def realistic_rows(bundle: Bundle) -> F32:
    """
    Return the golden observations and those of the golden chain, shape (n, observation width).

    :param bundle: the policy.
    """
    golden = bundle.golden
    return np.concatenate([golden.observations, golden.chain_observation], dtype=np.float32)


def proof_rows(bundle: Bundle) -> F32:
    """
    Return the golden observations and random ones like them, shape (n, observation width).

    Random ones have the mean and the deviation of the golden ones, value by value.

    :param bundle: the policy.
    """
    rows = realistic_rows(bundle)
    drawn = np.random.default_rng(_SEED).standard_normal((RANDOM_ROWS, rows.shape[1]))
    return np.concatenate([rows, rows.mean(axis=0) + rows.std(axis=0) * drawn],
                          dtype=np.float32)


def answers(onnx: Path, bundle: Bundle, rows: F32) -> F32:
    """
    Ask a network in ONNX Runtime, each time with a recurrent state of zero.

    :param onnx: the network.
    :param bundle: names its tensors.
    :param rows: shape (n, observation width).
    :returns: raw actions, shape (n, action width).
    """
    session, network = open_session(onnx), bundle.contract.network
    states = {state.input: np.zeros(state.shape, dtype=np.float32)
              for state in network.recurrent}
    return np.concatenate([
        session.run([network.output], {network.input: row[None], **states})[0] for row in rows])


def compare(expected: F32, found: F32, bundle: Bundle, precision: str, note: str = '') -> Proof:
    """
    Return how far answers are from the expected ones, and whether that is fit.

    :param expected: raw actions, shape (n, action width).
    :param found: raw actions, same shape.
    :param bundle: its contract has the scale from raw action to rad.
    :param precision: of what is compared.
    :param note: what was compared.
    """
    tolerance, rows = TOLERANCE[precision], len(expected)
    if not np.isfinite(found).all():
        return Proof(fit=False, tolerance=tolerance, rows=rows, note=note)
    scale = np.concatenate([term.scale for term in bundle.contract.actions.terms])
    difference = np.abs(found.astype(np.float64) - expected)
    relative = float((difference / np.maximum(1.0, np.abs(expected))).max())
    return Proof(fit=relative <= tolerance, worst_raw=float(difference.max()),
                 worst_rad=float((difference * np.abs(scale)).max()), worst_relative=relative,
                 tolerance=tolerance, rows=rows, note=note)


def prove_network(onnx: Path, bundle: Bundle, precision: str) -> Proof:
    """
    Compare a converted network with the one it was made from, both in ONNX Runtime.

    :param onnx: the converted one.
    :param bundle: the policy.
    :param precision: of the converted one.
    """
    rows = proof_rows(bundle)
    return compare(answers(bundle.onnx_path, bundle, rows), answers(onnx, bundle, rows), bundle,
                   precision, 'the converted network, in ONNX Runtime')


def open_tensorrt(bundle: Bundle, plan: Path) -> Any:
    """
    Return the runner that the robot uses.

    :param bundle: the policy.
    :param plan: the engine.
    """
    from sim2real_policy.tensorrt_runner import TensorRTRunner
    return TensorRTRunner(bundle, plan)


def prove_engine(plan: Path, bundle: Bundle, precision: str,
                 open_runner: OpenRunner = open_tensorrt) -> Proof:
    """
    Run an engine as the robot will, and compare it with ONNX Runtime.

    :param plan: the engine, with its note beside it.
    :param bundle: the policy.
    :param precision: of the engine.
    :param open_runner: makes the runner.
    :returns: unfit where the engine cannot be loaded or answers wrongly; ``fit`` None where the
        libraries to run it are not installed.
    """
    try:
        runner = open_runner(bundle, plan)
    except (MissingDependencyError, ModuleNotFoundError) as error:
        return not_run(precision, str(error))
    except PolicyError as error:
        return Proof(fit=False, tolerance=TOLERANCE[precision], note=str(error))
    rows = proof_rows(bundle)
    try:
        found = np.stack([_ask(runner, row) for row in rows])
    except PolicyError as error:
        return Proof(fit=False, tolerance=TOLERANCE[precision], note=str(error))
    finally:
        runner.close()
    return compare(answers(bundle.onnx_path, bundle, rows), found, bundle, precision,
                   'the engine, as the robot runs it')


def not_run(precision: str, why: str) -> Proof:
    """
    Return the proof of an engine that could not be run here.

    :param precision: of the engine.
    :param why: the reason.
    """
    return Proof(fit=None, tolerance=TOLERANCE[precision], note=why)


def _ask(runner: Any, row: F32) -> F32:
    runner.reset()
    runner.input[0] = row
    runner.run()
    return np.array(runner.output[0], dtype=np.float32)
