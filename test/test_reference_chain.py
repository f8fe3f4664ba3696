"""The reference chain gives the numbers that Isaac Lab 2.3.2's own managers gave."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.contract import PolicyContract
from sim2real_policy.offline.env_yaml import load_training_yaml
from sim2real_policy.offline.reference_chain import gravity_in_base, ReferenceChain, Sample
from sim2real_policy.offline.training_run import contract_from_env

DATA = Path(__file__).parent / 'data' / 'isaaclab'
GOLDEN = json.loads((DATA / 'per_term_history.json').read_text())


@pytest.fixture
def contract() -> PolicyContract:
    return contract_from_env(
        load_training_yaml(DATA / 'per_term_history.cfg.yaml'),
        {'clip_actions': GOLDEN['clip_actions']}, GOLDEN['joint_names'], control_period=0.02,
        default_position=GOLDEN['default_joint_pos'])


def sample_of(state: dict[str, list[float]]) -> Sample:
    w, x, y, z = state['quat_wxyz']
    return Sample(
        joint_position=np.array(state['joint_pos']), joint_velocity=np.array(state['joint_vel']),
        joint_effort=np.zeros(len(state['joint_pos'])), quaternion_xyzw=np.array([x, y, z, w]),
        angular_velocity=np.array(state['ang_vel_b']),
        linear_velocity=np.array(state['lin_vel_b']), command=np.array(state['cmd']))


def steps(chain: ReferenceChain) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    observations = [chain.observe(sample_of(GOLDEN['states'][0]))]
    targets = []
    for raw, state in zip(GOLDEN['raw_actions'], GOLDEN['states'][1:], strict=True):
        targets.append(chain.act(np.array(raw, np.float32)))
        observations.append(chain.observe(sample_of(state)))
    return observations, targets


def test_the_widths_are_those_of_isaac_lab(contract: PolicyContract) -> None:
    assert [(term.name, contract.frame_width(term) * max(1, term.history_length))
            for term in contract.observation.terms] == [
        (row['term'], row['dim']) for row in GOLDEN['layout']]


def test_observations_and_targets_are_those_of_isaac_lab(contract: PolicyContract) -> None:
    observations, targets = steps(ReferenceChain(contract))
    assert np.abs(np.stack(observations) - np.array(GOLDEN['expected_obs'])).max() < 1e-6
    expected = [[row[name] for name in contract.action_joints]
                for row in GOLDEN['expected_joint_targets']]
    assert np.abs(np.stack(targets) - np.array(expected)).max() < 1e-6
    assert observations[0].dtype == targets[0].dtype == np.float32


def test_a_reset_forgets_history_and_action(contract: PolicyContract) -> None:
    chain = ReferenceChain(contract)
    first = steps(chain)[0]
    chain.reset()
    assert all(np.array_equal(a, b) for a, b in zip(first, steps(chain)[0], strict=True))


def test_a_wrong_rule_would_show(contract: PolicyContract) -> None:
    """Without the clip before all else the second observation differs."""
    free = contract.model_copy(update={
        'actions': contract.actions.model_copy(update={'raw_clip': None})})
    observations, _ = steps(ReferenceChain(free))
    assert np.abs(observations[1] - np.array(GOLDEN['expected_obs'][1])).max() > 1.0


def test_joint_functions_without_a_default(contract: PolicyContract) -> None:
    terms = tuple(contract.observation.terms[6].model_copy(update={
        'name': function, 'function': function, 'clip': None, 'scale': None})
        for function in ('joint_pos', 'joint_vel', 'joint_effort'))
    plain = contract.model_copy(update={
        'observation': contract.observation.model_copy(update={'terms': terms})})
    sample = replace(sample_of(GOLDEN['states'][0]), joint_effort=np.arange(7.0))
    expected = np.concatenate([sample.joint_position, sample.joint_velocity, np.arange(7.0)])
    assert np.abs(ReferenceChain(plain).observe(sample) - expected).max() < 1e-6


def test_gravity_by_eye() -> None:
    half = np.sqrt(0.5)
    for xyzw, down in (([0.0, 0.0, 0.0, 1.0], [0.0, 0.0, -1.0]),
                       ([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0]),     # upside down
                       ([half, 0.0, 0.0, half], [0.0, -1.0, 0.0]),  # on its right side
                       ([0.0, half, 0.0, half], [1.0, 0.0, 0.0])):  # nose down
        assert gravity_in_base(np.array(xyzw)) == pytest.approx(down, abs=1e-6)
