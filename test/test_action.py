"""Rule: target = clip(raw_clip(raw) * scale + offset), as in training and in this order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.action import ActionProcessor
from sim2real_policy.contract import parse_contract, PolicyContract

F32 = NDArray[np.float32]


def raw(*values: float) -> F32:
    """Give a raw action."""
    return np.array(values, dtype=np.float32)


@pytest.fixture
def processor(contract_data: dict[str, Any]) -> ActionProcessor:
    """Give two action terms, a raw clip and one output clip."""
    contract_data['actions'] = {'raw_clip': [-2.0, 2.0], 'terms': [
        {'name': 'leg', 'joints': ['knee', 'hip'], 'scale': [0.5, 2.0], 'offset': [0.25, -1.0],
         'clip': [[-10.0, 1.0], [-2.0, 10.0]]},
        {'name': 'foot', 'joints': ['ankle'], 'scale': [1.0], 'offset': [0.0]}]}
    return ActionProcessor(parse_contract(contract_data, 'it'))


def test_targets_are_those_of_isaac_lab(
        isaac_golden: dict[str, Any], isaac_contract: PolicyContract) -> None:
    processor = ActionProcessor(isaac_contract)
    actions, expected = isaac_golden['raw_actions'], isaac_golden['expected_joint_targets']
    assert len(actions) == len(expected) > 3
    for action, targets in zip(actions, expected, strict=True):
        target = processor.process(raw(*action))
        wanted = [targets[name] for name in isaac_contract.action_joints]
        assert np.abs(target - wanted).max() < 1e-6


def test_isaac_lab_s_recording_needs_every_clip(
        isaac_golden: dict[str, Any], isaac_contract: PolicyContract) -> None:
    """Else it could not tell a processor that forgets one."""
    actions = np.array(isaac_golden['raw_actions'])
    assert np.abs(actions).max() > isaac_golden['clip_actions']
    scale = np.array(isaac_contract.actions.terms[0].scale)
    offset = np.array(isaac_contract.actions.terms[0].offset)
    bounds = np.array(isaac_contract.actions.terms[0].clip)
    clipped = np.clip(actions, -1.5, 1.5)[:, :len(scale)] * scale + offset
    assert (clipped < bounds[:, 0]).any()
    assert (clipped > bounds[:, 1]).any()


def test_scale_offset_and_clips_by_eye(processor: ActionProcessor) -> None:
    assert processor.process(raw(1.0, 0.5, 0.25)).tolist() == [0.75, 0.0, 0.25]
    assert processor.process(raw(1.75, -0.75, -3.0)).tolist() == [1.0, -2.0, -2.0]


def test_last_action_is_raw_after_the_raw_clip_and_before_all_else(
        processor: ActionProcessor) -> None:
    processor.process(raw(1.75, -0.75, -3.0))
    assert processor.last.tolist() == [1.75, -0.75, -2.0]


def test_without_raw_clip_the_last_action_is_what_the_network_said(
        contract: PolicyContract) -> None:
    processor = ActionProcessor(contract)
    assert processor.process(raw(100.0, 0.0, -100.0)).tolist() == [99.5, 0.25, -99.875]
    assert processor.last.tolist() == [100.0, 0.0, -100.0]


def test_reset_forgets_the_last_action(processor: ActionProcessor) -> None:
    processor.process(raw(1.0, 1.0, 1.0))
    processor.reset()
    assert processor.last.tolist() == [0.0, 0.0, 0.0]


def test_input_is_copied_and_output_is_one_buffer_of_float32(processor: ActionProcessor) -> None:
    action = raw(1.0, 0.5, 0.25)
    target = processor.process(action)
    action[:] = 7.0
    assert processor.last.tolist() == [1.0, 0.5, 0.25]
    assert processor.process(raw(0.0, 0.0, 0.0)) is target
    assert target.dtype == processor.last.dtype == np.float32


def test_target_before_the_first_action_is_the_offset(processor: ActionProcessor) -> None:
    assert processor.target.tolist() == [0.25, -1.0, 0.0]
