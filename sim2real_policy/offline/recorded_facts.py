"""
What other files of a run recorded: the joint order, and numbers to compare with ``env.yaml``.

``env.yaml`` never names the joints; the simulator decides their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.env_yaml import load_training_yaml
from sim2real_policy.offline.fields import bounds, is_unset, mapping, number, sequence, words
from sim2real_policy.offline.onnx_session import open_session

DESCRIPTORS = 'io_descriptors/IO_descriptors.yaml'
# Metadata is rounded to 3 decimals; the rest is room for float32.
ROUNDING = 5e-4 + 1e-6


@dataclass(frozen=True)
class RecordedFacts:
    """Facts from one file; an empty tuple or None means: not recorded there."""

    source: str
    joint_names: tuple[str, ...]
    default_position: tuple[float, ...] = ()
    stiffness: tuple[float, ...] = ()
    damping: tuple[float, ...] = ()
    action_scale: tuple[float, ...] = ()
    observation_names: tuple[str, ...] = ()
    command_names: tuple[str, ...] = ()
    position_limit: tuple[tuple[float, float], ...] = ()
    control_period: float | None = None


def recorded_facts(run: Path, robot: str) -> list[RecordedFacts]:
    """
    Collect what the files of a run recorded.

    :param run: folder of the run.
    :param robot: name of the robot in the scene.
    :raises ImportRunError: if such a file cannot be read.
    """
    found = [_from_descriptors(run / DESCRIPTORS, robot)] if (run / DESCRIPTORS).is_file() else []
    for path in (*sorted(run.glob('*.onnx')), *sorted(run.glob('exported/*.onnx'))):
        metadata = open_session(path).get_modelmeta().custom_metadata_map
        if metadata.get('joint_names'):
            found.append(facts_from_metadata(metadata, str(path.relative_to(run))))
    return found


def facts_from_metadata(metadata: Mapping[str, str], source: str) -> RecordedFacts:
    """
    Read the metadata that mjlab and BeyondMimic write into an ONNX file.

    :param metadata: key -> comma-joined list.
    :param source: name of the file, for messages.
    :raises ImportRunError: if a list is not one of numbers.
    """
    def numbers(key: str) -> tuple[float, ...]:
        return tuple(number(item, f'{source}: metadata {key}') for item in _split(metadata, key))

    return RecordedFacts(
        source, _split(metadata, 'joint_names'), numbers('default_joint_pos'),
        numbers('joint_stiffness'), numbers('joint_damping'), numbers('action_scale'),
        _split(metadata, 'observation_names'), _split(metadata, 'command_names'))


def _split(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in metadata.get(key, '').split(',') if item.strip())


def _from_descriptors(path: Path, robot: str) -> RecordedFacts:
    data, source = load_training_yaml(path), path.name
    robots = mapping(data.get('articulations'), f'{source}: articulations')
    section = mapping(robots.get(robot), f'{source}: articulations.{robot}')
    if not section:
        raise ImportRunError(f"{path} has no articulation '{robot}', expected the robot of the "
                             f'actions; it has {sorted(robots)}. Export the descriptors again, '
                             'or remove the file and give --joint-names')
    scene = mapping(data.get('scene'), f'{source}: scene')

    def numbers(key: str) -> tuple[float, ...]:
        return tuple(number(item, f'{source}: {key}')
                     for item in sequence(section.get(key), f'{source}: {key}'))

    limits = sequence(section.get('default_joint_pos_limits'), source)
    return RecordedFacts(
        source, words(section.get('joint_names'), f'{source}: joint_names'),
        numbers('default_joint_pos'), numbers('default_joint_stiffness'),
        numbers('default_joint_damping'),
        position_limit=tuple(bounds(row, f'{source}: default_joint_pos_limits')
                             for row in limits),
        control_period=None if is_unset(scene.get('dt'))
        else number(scene['dt'], f'{source}: scene.dt'))


def joint_order(found: Sequence[RecordedFacts],
                given: Sequence[str] | None) -> tuple[tuple[str, ...], str]:
    """
    Return the joint names in the policy's order and where they come from.

    :param found: what the run recorded.
    :param given: the names that the user gave, if any.
    :raises ImportRunError: if nobody tells the order, or two tell different ones.
    """
    told = [(facts.joint_names, facts.source) for facts in found]
    if given is not None:
        told.append((tuple(given), '--joint-names'))
    if not told:
        raise ImportRunError(
            'nothing in this run records the joint order (env.yaml never does): expected '
            f'{DESCRIPTORS}, or an .onnx with joint_names in its metadata. Give it with '
            '--joint-names a,b,c in the order of robot.joint_names in the simulator; it is not '
            'the order of the URDF')
    names, source = told[0]
    for other, where in told[1:]:
        if other != names:
            raise ImportRunError(f'{source} has the joints {list(names)}, but {where} has '
                                 f'{list(other)}; expected the same names in the same order. '
                                 'Remove the one that does not belong to this run')
    return names, source


def check_against(contract: PolicyContract, facts: RecordedFacts) -> None:
    """
    Compare a contract with what a file recorded, within the rounding of that file.

    :param contract: made from ``env.yaml``.
    :param facts: from a file of the same run.
    :raises ImportRunError: if they disagree; then they are not from one run.
    """
    joints = contract.joints
    scales = tuple(scale for term in contract.actions.terms for scale in term.scale)
    if len(facts.action_scale) == 1:
        facts_scale = facts.action_scale * len(scales)
    else:
        facts_scale = facts.action_scale
    _compare('default joint positions', joints.default_position, facts.default_position, facts)
    _compare('action scales', scales, facts_scale, facts)
    # Gains of explicit actuators are recorded as 0: the simulator does not have them.
    for what, ours, theirs in (('stiffness', joints.stiffness, facts.stiffness),
                               ('damping', joints.damping, facts.damping)):
        if ours is not None and any(theirs) and len(ours) == len(theirs):
            _compare(what, [value for value, other in zip(ours, theirs, strict=True) if other],
                     [other for other in theirs if other], facts)
    if facts.control_period is not None:
        _compare('control period', [contract.control_period], [facts.control_period], facts)
    _compare_names(contract, facts)


def _compare(what: str, ours: Sequence[float], theirs: Sequence[float],
             facts: RecordedFacts) -> None:
    if not theirs:
        return
    if len(ours) != len(theirs) or any(
            abs(a - b) > ROUNDING for a, b in zip(ours, theirs, strict=True)):
        _disagree(what, list(ours), list(theirs), facts)


def _compare_names(contract: PolicyContract, facts: RecordedFacts) -> None:
    terms = tuple(term.name for term in contract.observation.terms)
    if facts.observation_names and not any('/' in name for name in terms) \
            and terms != facts.observation_names:
        _disagree('observation terms', list(terms), list(facts.observation_names), facts)
    if contract.command is not None and facts.command_names \
            and contract.command.name not in facts.command_names:
        _disagree('command', contract.command.name, list(facts.command_names), facts)


def _disagree(what: str, ours: Any, theirs: Any, facts: RecordedFacts) -> None:
    raise ImportRunError(f'{what}: env.yaml says {ours}, but {facts.source} says {theirs}; '
                         'expected the same, up to 3 decimals. They are not from one run: '
                         'remove the one that does not belong here')
