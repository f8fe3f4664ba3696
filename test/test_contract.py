"""Rule: a contract is complete, strict and self-consistent, and survives saving bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
import math
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
import pytest
from sim2real_policy.contract import (
    load_contract,
    parse_contract,
    PolicyContract,
    save_contract,
    SCHEMA_VERSION,
)
from sim2real_policy.errors import ContractError

Data = dict[Any, Any]
Edit = Callable[[Data], Any]


def term(data: Data, name: str) -> Data:
    """Give one observation term of plain data."""
    found: Data = next(term for term in data['observation']['terms'] if term['name'] == name)
    return found


def refusal(data: Data) -> str:
    """Give the text with which a contract is refused."""
    with pytest.raises(ContractError) as error:
        parse_contract(data, 'contract.yaml')
    return str(error.value)


def test_widths_and_orders_by_eye(contract: PolicyContract) -> None:
    assert contract.action_joints == ('ankle', 'knee', 'hip')
    assert contract.action_width == 3
    assert contract.observation_width == 3 + 3 + 3 + 3 + 3 + 3
    assert contract.uses('joint_effort', 'last_action')
    assert not contract.uses('joint_effort', 'base_lin_vel')
    assert not contract.uses()


def test_history_multiplies_a_term_and_0_and_1_are_the_same(contract_data: Data) -> None:
    for length, width in ((0, 18), (1, 18), (4, 18 + 3 * 3)):
        term(contract_data, 'q')['history_length'] = length
        assert parse_contract(contract_data, 'it').observation_width == width


def test_frame_width_follows_the_function(contract_data: Data) -> None:
    contract_data['actions']['terms'] = [
        {'name': 'leg', 'joints': ['knee', 'hip'], 'scale': [1.0, 1.0], 'offset': [0.0, 0.0]},
        {'name': 'foot', 'joints': ['ankle'], 'scale': [1.0], 'offset': [0.0]}]
    term(contract_data, 'q')['joints'] = ['knee']
    contract_data['observation']['terms'].append(
        {'name': 'foot_only', 'function': 'last_action', 'action_term': 'foot'})
    contract = parse_contract(contract_data, 'it')
    assert {item.name: contract.frame_width(item) for item in contract.observation.terms} == {
        'gyro': 3, 'gravity': 3, 'q': 1, 'dq': 3, 'last': 3, 'command': 3, 'foot_only': 1}
    assert contract.action_joints == ('knee', 'hip', 'ankle')


def test_every_digit_survives_saving(contract_data: Data, tmp_path: Path) -> None:
    contract_data['control_period'] = 1.0 / 3.0
    contract_data['joints']['default_position'] = [0.1 + 0.2, 5e-324, -1e-17]
    contract_data['joints']['position_limit'] = [[-math.inf, 0.1], [-1e5, 1e22], [0.0, math.inf]]
    contract_data['actions']['raw_clip'] = [-1.5, 1.5]
    term(contract_data, 'gyro').update(
        clip=[-math.inf, 2.0], scale=[0.1, 0.2, 0.3], history_length=3,
        modifiers=[{'kind': 'bias', 'value': 0.1}, {'kind': 'clip', 'value': [-1.0, 1.0]}])
    contract_data['network']['recurrent'] = [{'input': 'h', 'output': 'h_out',
                                              'shape': [1, 1, 64]}]
    contract = parse_contract(contract_data, 'it')
    save_contract(contract, tmp_path / 'contract.yaml')
    again = load_contract(tmp_path / 'contract.yaml')
    assert again == contract
    assert again.joints.default_position == (0.30000000000000004, 5e-324, -1e-17)
    assert again.joints.position_limit is not None
    assert again.joints.position_limit[0] == (-math.inf, 0.1)


def test_names_that_yaml_would_take_for_something_else_survive_saving(
        contract_data: Data, tmp_path: Path) -> None:
    contract_data['name'] = 'no'
    contract_data['provenance'] = {'date': '2026-01-01', 'run': '1e3', 'robot': 'R\u00e4ty'}
    contract = parse_contract(contract_data, 'it')
    save_contract(contract, tmp_path / 'contract.yaml')
    assert load_contract(tmp_path / 'contract.yaml') == contract


def test_numpy_numbers_and_integers_are_taken_as_plain_numbers(
        contract_data: Data, tmp_path: Path) -> None:
    contract_data['control_period'] = np.float64(0.02)
    contract_data['joints']['default_position'] = [1, 0, -1]
    contract = parse_contract(contract_data, 'it')
    assert type(contract.joints.default_position[0]) is float
    save_contract(contract, tmp_path / 'contract.yaml')
    assert load_contract(tmp_path / 'contract.yaml') == contract


def test_contract_cannot_be_changed(contract: PolicyContract) -> None:
    with pytest.raises(ValidationError):
        contract.control_period = 0.01


@pytest.mark.parametrize(('version', 'text'), [
    (2, 'has schema version 2, this package reads up to 1; update sim2real_policy'),
    (0, 'has schema_version 0, expected 1'),
    (None, 'has schema_version None, expected 1'),
    ('1', "has schema_version '1', expected 1"),
    (True, 'schema_version: Input should be a valid integer'),
    (1.0, 'schema_version: Input should be a valid integer')])
def test_other_schema_is_refused_before_all_else(
        contract_data: Data, version: Any, text: str) -> None:
    assert SCHEMA_VERSION == 1
    contract_data.update(schema_version=version)
    assert text in refusal(contract_data)


@pytest.mark.parametrize(('content', 'text'), [
    ('[1, 2]', 'holds list, expected a mapping; write it with tools/export_onnx.py'),
    ('', 'holds NoneType, expected a mapping'),
    ('a: [', 'is not YAML'),
    ('!!python/object/apply:os.getcwd []', 'is not YAML')])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / 'contract.yaml'
    path.write_text(content)
    with pytest.raises(ContractError) as error:
        load_contract(path)
    assert str(error.value).startswith(str(path))
    assert text in str(error.value)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r'cannot read .*contract.yaml'):
        load_contract(tmp_path / 'contract.yaml')
    (tmp_path / 'contract.yaml').write_bytes(b'name: \xff\xfe')
    with pytest.raises(ContractError, match=r'cannot read .*contract.yaml'):
        load_contract(tmp_path / 'contract.yaml')


MISTAKES: list[tuple[Edit, str]] = [
    (lambda d: d.update(contol_period=1.0),
     "unknown key 'contol_period' (did you mean 'control_period'?)"),
    (lambda d: term(d, 'q').update(scal=1.0),
     "observation.terms.2: unknown key 'scal' (did you mean 'scale'?)"),
    (lambda d: d.setdefault(7, 1), "unknown key '7'"),
    (lambda d: d.pop('joints'), 'joints: Field required'),
    (lambda d: d.update(control_period=0.0), 'control_period: Input should be greater than 0'),
    (lambda d: d.update(control_period=math.inf), 'control_period: Input should be a finite'),
    (lambda d: d.update(control_period='0.02'), "valid number (seen: '0.02')"),
    (lambda d: d.update(control_period=True), 'valid number (seen: True)'),
    (lambda d: d.update(name=''), 'name: String should have at least 1 character'),
    (lambda d: d['network'].update(sha256='ABC'), 'network.sha256: String should match'),
    (lambda d: d['network'].update(recurrent=[{'input': 'h', 'output': 'o', 'shape': [0]}]),
     'network.recurrent.0.shape.0: Input should be greater than 0'),
    (lambda d: d['joints'].update(default_position=[0.0]),
     'default_position has 1 entries, expected 3, one per joint'),
    (lambda d: d['joints'].update(stiffness=[1.0, 2.0]),
     'stiffness has 2 entries, expected 3, one per joint'),
    (lambda d: d['joints'].update(position_limit=[[1.0, -1.0]] * 3),
     'bounds [1.0, -1.0] must be [low, high] with low <= high'),
    (lambda d: d['joints'].update(position_limit=[[math.nan, 1.0]] * 3), 'must be [low, high]'),
    (lambda d: d['joints'].update(names=['hip', 'knee', 'hip']),
     "names must be unique, but ['hip'] stand there more than once"),
    (lambda d: d['joints'].update(names=[]), 'joints.names'),
    (lambda d: d['joints'].update(default_position=[0.0, math.nan, 0.0]),
     'joints.default_position.1: Input should be a finite number'),
    (lambda d: d['actions']['terms'][0].update(scale=[1e300, 1.0, 1.0]),
     'actions.terms.0.scale.0: Input should be less than or equal to 3402823'),
    (lambda d: d['actions']['terms'][0].update(clip=[[-1.0, 1.0]]),
     "action term 'legs': clip has 1 entries, expected 3"),
    (lambda d: d['actions']['terms'][0].update(kind='joint_effort'), 'actions.terms.0.kind'),
    (lambda d: d['actions']['terms'][0].update(joints=['ankle', 'knee', 'hop']),
     "action term 'legs' names the joint 'hop', which is not in joints.names "
     "(did you mean 'hip'?)"),
    (lambda d: d['actions']['terms'].append(
        {'name': 'more', 'joints': ['knee'], 'scale': [1.0], 'offset': [0.0]}),
     "joint in the action terms 'knee' stands there more than once"),
    (lambda d: d['actions']['terms'].append(
        {'name': 'legs', 'joints': ['knee'], 'scale': [1.0], 'offset': [0.0]}),
     "action term 'legs' stands there more than once"),
    (lambda d: d['actions'].update(terms=[]), 'actions.terms'),
    (lambda d: d['observation'].update(terms=[]), 'observation.terms'),
    (lambda d: d['observation']['terms'].append({'name': 'q', 'function': 'base_ang_vel'}),
     "observation term 'q' stands there more than once"),
    (lambda d: d['observation'].update(history_layout='frame_major'),
     'observation.history_layout'),
    (lambda d: d['observation'].update(history_start='zero'), 'observation.history_start'),
    (lambda d: term(d, 'q').update(function='height_scan'), 'observation.terms.2.function'),
    (lambda d: term(d, 'q').update(joints=None), "'joints' belongs to joint terms"),
    (lambda d: term(d, 'gyro').update(joints=['hip']), 'the function is base_ang_vel'),
    (lambda d: term(d, 'q').update(joints=['kne']), "the joint 'kne', which is not in"),
    (lambda d: term(d, 'q').update(joints=['knee', 'knee']), "['knee'] stand there more"),
    (lambda d: term(d, 'q').update(action_term='legs'), "'action_term' belongs to last_action"),
    (lambda d: term(d, 'last').update(action_term='arms'),
     "observation term 'last' wants the last action of 'arms'; the action terms are ['legs']"),
    (lambda d: term(d, 'q').update(scale=[1.0, 2.0]),
     "observation term 'q' has 2 scales for 3 values"),
    (lambda d: term(d, 'q').update(history_length=-1), 'history_length'),
    (lambda d: term(d, 'q').update(clip=[1.0, -1.0]), 'bounds [1.0, -1.0]'),
    (lambda d: term(d, 'q').update(modifiers=[{'kind': 'clip', 'value': 1.0}]),
     "modifier 'clip' has the value 1.0; 'clip' takes [low, high]"),
    (lambda d: term(d, 'q').update(modifiers=[{'kind': 'scale', 'value': [0.0, 1.0]}]),
     "modifier 'scale' has the value (0.0, 1.0)"),
    (lambda d: term(d, 'q').update(modifiers=[{'kind': 'integrator', 'value': 1.0}]),
     'observation.terms.2.modifiers.0.kind'),
    (lambda d: d.update(command=None),
     "observation term 'command' needs a command, but 'command' is missing"),
    (lambda d: d['command']['ranges'].update(lin_vel_x=[2.0, -1.0]), 'command.ranges.lin_vel_x'),
    (lambda d: d['conventions'].update(quaternion_order='zyxw'), 'conventions.quaternion_order')]


@pytest.mark.parametrize(('edit', 'text'), MISTAKES, ids=[text[:40] for _, text in MISTAKES])
def test_mistake_is_refused_with_its_place(contract_data: Data, edit: Edit, text: str) -> None:
    edit(contract_data)
    message = refusal(contract_data)
    assert message.startswith('contract.yaml: ')
    assert text in message


def test_further_mistakes_are_counted_and_long_values_are_cut(contract_data: Data) -> None:
    contract_data['control_period'] = 'x' * 200
    contract_data['name'] = 3
    message = refusal(contract_data)
    assert message.endswith('; and 1 more')
    assert len(message) < 250


@pytest.mark.parametrize('section', ['stiffness', 'damping', 'effort_limit', 'velocity_limit',
                                     'position_limit'])
def test_what_training_does_not_tell_may_be_absent(contract_data: Data, section: str) -> None:
    data = deepcopy(contract_data)
    data['joints'][section] = None
    assert getattr(parse_contract(data, 'it').joints, section) is None
    assert parse_contract(data, 'it') == parse_contract(contract_data, 'it')
