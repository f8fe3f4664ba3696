"""The action terms in ``env.yaml``, as terms of the contract."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.fields import (
    bounds,
    flag,
    is_unset,
    mapping,
    number,
    refuse,
    text,
    words,
)
from sim2real_policy.offline.framework import MJLAB, own_name
from sim2real_policy.offline.joint_patterns import matched_names, matched_values
from sim2real_policy.offline.robot_section import actuators, drives_joints, Robot

CLASSES = ['JointPositionAction']


def action_sections(env: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """
    Return (name, section) of every enabled action term, in the order of the raw action.

    :param env: content of ``env.yaml``.
    :raises ImportRunError: if none is enabled.
    """
    actions = mapping(env.get('actions'), 'env.yaml: actions')
    enabled = [(name, mapping(section, f'env.yaml: actions.{name}'))
               for name, section in actions.items() if not is_unset(section)]
    if not enabled:
        raise ImportRunError('env.yaml: actions has no enabled term, expected at least one '
                             'JointPositionAction. Check the configuration of the task')
    return enabled


def robot_name(env: dict[str, Any]) -> str:
    """
    Return the scene's name of the one robot that all actions drive.

    :param env: content of ``env.yaml``.
    :raises ImportRunError: if they drive several.
    """
    names = {text(section.get('asset_name', section.get('entity_name', 'robot')),
                  f'env.yaml: actions.{term}.asset_name')
             for term, section in action_sections(env)}
    if len(names) > 1:
        raise ImportRunError(f'env.yaml: the action terms drive {sorted(names)}, expected one '
                             'robot. Train one policy per robot')
    return names.pop()


def action_terms(env: dict[str, Any], robot: Robot,
                 default_position: Sequence[float]) -> list[dict[str, Any]]:
    """
    Return the terms as plain data of the contract.

    :param env: content of ``env.yaml``.
    :param robot: the robot that the actions drive.
    :param default_position: one per joint of the robot [rad].
    :raises ImportRunError: if a term cannot be reproduced exactly.
    """
    default = dict(zip(robot.joint_names, default_position, strict=True))
    return [_action_term(name, section, robot, default) for name, section in action_sections(env)]


def _action_term(name: str, section: dict[str, Any], robot: Robot,
                 default: dict[str, float]) -> dict[str, Any]:
    where = f'env.yaml: actions.{name}'
    joints = _joints(section, where, robot)
    if flag(section.get('use_default_offset'), f'{where}.use_default_offset', default=True):
        offset = [default[joint] for joint in joints]
    else:
        offset = _per_joint(section.get('offset'), joints, f'{where}.offset', 0.0)
    return {'name': name, 'kind': 'joint_position', 'joints': joints,
            'scale': _per_joint(section.get('scale'), joints, f'{where}.scale', 1.0),
            'offset': offset, 'clip': _clip(section.get('clip'), joints, f'{where}.clip')}


def _joints(section: dict[str, Any], where: str, robot: Robot) -> tuple[str, ...]:
    preserve = flag(section.get('preserve_order'), f'{where}.preserve_order', default=False)
    if robot.framework != MJLAB:
        own_name(section.get('class_type'), f'{where}.class_type', CLASSES)
        return matched_names(words(section.get('joint_names'), f'{where}.joint_names'),
                             robot.joint_names, f'{where}.joint_names', preserve)
    driven = {joint for actuator in actuators(robot) for joint in actuator.joints}
    names = [joint for joint in robot.joint_names if joint in driven]
    patterns = words(section.get('actuator_names'), f'{where}.actuator_names')
    joints = matched_names(patterns, names, f'{where}.actuator_names')
    if preserve and joints != matched_names(patterns, names, where, preserve_order=True):
        refuse(f'{where}.preserve_order', True, "false, or the robot's own order, because mjlab "
               'does not follow this field for joints')
    _check_mjlab_kind(section, where, robot, joints)
    return joints


def _check_mjlab_kind(section: dict[str, Any], where: str, robot: Robot,
                      joints: tuple[str, ...]) -> None:
    # mjlab does not write the class of an action. Its position and velocity actions alone have
    # this field, and a joint without stiffness cannot follow a position.
    if 'use_default_offset' not in section or not drives_joints(section):
        refuse(where, sorted(section), 'the fields of a JointPositionAction of mjlab')
    for actuator in actuators(robot):
        stiffness = actuator.section.get('stiffness')
        if set(actuator.joints) & set(joints) and (
                is_unset(stiffness) or number(stiffness, f'{actuator.where}.stiffness') <= 0.0):
            refuse(f'{actuator.where}.stiffness', stiffness, 'a positive number, because only '
                   'joint position actions are supported')


def _per_joint(value: Any, joints: Sequence[str], where: str, default: float) -> list[float]:
    if value is None:
        return [default] * len(joints)
    if isinstance(value, dict):
        values = matched_values(mapping(value, where), joints, where)
        return [number(values.get(joint, default), where) for joint in joints]
    return [number(value, where)] * len(joints)


def _clip(value: Any, joints: Sequence[str],
          where: str) -> list[tuple[float, float]] | None:
    if is_unset(value):
        return None
    values = matched_values(mapping(value, where), joints, where)
    return [bounds(values.get(joint, (-math.inf, math.inf)), where) for joint in joints]
