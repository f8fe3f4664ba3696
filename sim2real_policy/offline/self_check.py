"""Compares an exported network with the network of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import GOLDEN_TOLERANCE
from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.checkpoint import Actor
from sim2real_policy.offline.golden_data import random_observations, realistic_observations
from sim2real_policy.offline.onnx_session import open_session
from sim2real_policy.offline.torch_actor import answer

F32 = NDArray[np.float32]
RANDOM_ROWS = 1000
REALISTIC_ROWS = 100
BATCH = 7


@dataclass(frozen=True)
class Agreement:
    """Largest differences over ``rows`` observations: of the raw action, and as target [rad]."""

    rows: int
    raw: float
    target: float


def check_network(path: Path, contract: PolicyContract, actor: Actor, network: Any,
                  chain: F32) -> Agreement:
    """
    Ask both networks the same random and realistic observations.

    :param path: the exported ONNX file.
    :param contract: names of the tensors, and the scale of the actions.
    :param actor: the network's normaliser tells what is realistic.
    :param network: the network of training in PyTorch.
    :param chain: observations of the golden chain, shape (steps, observation width).
    :raises ImportRunError: if they differ by more than the tolerance.
    """
    observations = np.concatenate([
        random_observations(contract, RANDOM_ROWS, seed=7),
        realistic_observations(actor, chain, REALISTIC_ROWS, seed=7)])
    expected = answer(network, observations)
    ask = _asker(path, contract)
    found = np.concatenate([ask(row[None]) for row in observations])
    raw = _largest(found, expected, path, 'one observation at a time')
    _largest(ask(observations[:BATCH]), expected[:BATCH], path, f'a batch of {BATCH}')
    if not np.array_equal(found[:BATCH], np.concatenate(
            [ask(row[None]) for row in observations[:BATCH]])):
        raise ImportRunError(f'{path} answers the same observation differently the second time, '
                             'expected the same numbers; there must be no noise in the network')
    scale = np.array([value for term in contract.actions.terms for value in term.scale])
    target = float(np.abs((found - expected) * scale).max())
    return Agreement(len(observations), raw, target)


def _asker(path: Path, contract: PolicyContract) -> Any:
    session, names = open_session(path), contract.network
    return lambda rows: session.run([names.output], {names.input: rows})[0]


def _largest(found: F32, expected: F32, path: Path, how: str) -> float:
    if found.shape != expected.shape:
        raise ImportRunError(f'{path} answers {how} with shape {found.shape}, expected '
                             f'{expected.shape}; report this with the version of torch')
    difference = np.abs(found - expected)
    # Random observations can be far from training's, and float32 rounds in proportion.
    allowed = GOLDEN_TOLERANCE * np.maximum(1.0, np.abs(expected))
    if not (difference <= allowed).all():
        raise ImportRunError(f'{path} differs from the network of training by '
                             f'{difference.max():g} for {how}, expected at most '
                             f'{GOLDEN_TOLERANCE:g}; report this with the version of torch')
    return float(difference.max())
