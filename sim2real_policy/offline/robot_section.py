"""The robot in ``env.yaml``: default joint state, gains and limits of its actuators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import math
from typing import Any, Literal

from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.env_yaml import PythonTag
from sim2real_policy.offline.fields import is_unset, mapping, number, sequence, words
from sim2real_policy.offline.framework import Framework, ISAAC_LAB, MJLAB
from sim2real_policy.offline.joint_patterns import (
    first_prefix_values,
    matched_names,
    matched_values,
)

IDENTITY_WXYZ = (1.0, 0.0, 0.0, 0.0)
IDENTITY_XYZW = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Robot:
    """One robot of a run: who it is, its joints in the policy's order, and its section."""

    framework: Framework
    name: str
    joint_names: tuple[str, ...]
    section: dict[str, Any]

    @property
    def where(self) -> str:
        """Place of the section, for messages."""
        return 'env.yaml: scene.' + ('entities.' if self.framework == MJLAB else '') + self.name


@dataclass(frozen=True)
class Actuator:
    """One actuator group and the joints that it drives."""

    where: str
    section: dict[str, Any]
    joints: tuple[str, ...]


def find_robot(env: dict[str, Any], framework: Framework, name: str,
               joint_names: Sequence[str]) -> Robot:
    """
    Return the robot that the actions drive; its section is empty if the scene lacks it.

    :param env: content of ``env.yaml``.
    :param framework: who wrote it.
    :param name: name of the robot in the scene.
    :param joint_names: its joints in the policy's order.
    """
    scene = mapping(env.get('scene'), 'env.yaml: scene')
    if framework == MJLAB:
        scene = mapping(scene.get('entities'), 'env.yaml: scene.entities')
    return Robot(framework, name, tuple(joint_names),
                 mapping(scene.get(name), f'env.yaml: scene: {name}'))


def default_positions(robot: Robot) -> tuple[float, ...]:
    """
    Return the default joint positions [rad], one per joint.

    :param robot: the robot.
    :raises ImportRunError: if the run does not tell them.
    """
    state = mapping(robot.section.get('init_state'), f'{robot.where}.init_state')
    if is_unset(state.get('joint_pos')):
        raise ImportRunError(f'{robot.where}.init_state has no joint_pos, expected the default '
                             'pose of every joint; write it into the configuration of the task')
    return _initial_values(robot, 'joint_pos')


def default_velocities(robot: Robot) -> tuple[float, ...]:
    """
    Return the default joint velocities [rad/s], one per joint; zero where the run says nothing.

    :param robot: the robot.
    """
    return _initial_values(robot, 'joint_vel')


def _initial_values(robot: Robot, key: str) -> tuple[float, ...]:
    where = f'{robot.where}.init_state'
    by_pattern = mapping(mapping(robot.section.get('init_state'), where).get(key),
                         f'{where}.{key}')
    resolve = first_prefix_values if robot.framework == MJLAB else matched_values
    values = resolve(by_pattern, robot.joint_names, f'{where}.{key}')
    return tuple(number(values.get(name, 0.0), f'{where}.{key} of {name}')
                 for name in robot.joint_names)


def actuators(robot: Robot) -> list[Actuator]:
    """
    Return the actuator groups with the joints that they drive.

    :param robot: the robot.
    :raises ImportRunError: if a group names joints that the robot does not have.
    """
    groups = []
    for where, section in _actuator_sections(robot):
        patterns = words(section.get('target_names_expr', section.get('joint_names_expr')),
                         f'{where}.joint_names_expr')
        groups.append(Actuator(where, section,
                               matched_names(patterns, robot.joint_names, where)))
    return groups


def _actuator_sections(robot: Robot) -> Iterator[tuple[str, dict[str, Any]]]:
    if robot.framework == ISAAC_LAB:
        groups = mapping(robot.section.get('actuators'), f'{robot.where}.actuators')
        for name, group in groups.items():
            where = f'{robot.where}.actuators.{name}'
            yield where, mapping(group, where)
        return
    articulation = mapping(robot.section.get('articulation'), f'{robot.where}.articulation')
    where = f'{robot.where}.articulation.actuators'
    for index, group in enumerate(sequence(articulation.get('actuators'), where)):
        if drives_joints(mapping(group, where)):
            yield f'{where}[{index}]', mapping(group, where)


def drives_joints(section: dict[str, Any]) -> bool:
    """
    Tell whether an mjlab section acts on joints, and not on tendons or sites.

    :param section: an actuator or action term with mjlab's ``transmission_type``.
    """
    kind = section.get('transmission_type')
    if isinstance(kind, PythonTag):  # an enum, written as its class and its value
        kind = kind.content
    return kind in (None, 'joint', ['joint'])


Quantity = Literal['stiffness', 'damping', 'effort_limit', 'velocity_limit']


def actuator_values(robot: Robot, quantity: Quantity) -> tuple[float, ...] | None:
    """
    Return one value per joint, or None unless training tells it for every joint.

    :param robot: the robot.
    :param quantity: stiffness [N m/rad], damping [N m s/rad], effort_limit [N m] or
        velocity_limit [rad/s].
    """
    known: dict[str, float | None] = {}
    for actuator in actuators(robot):
        values = _group_values(actuator, quantity)
        for joint in actuator.joints:
            # Two groups on one joint add up in a way that is not written down.
            known[joint] = None if joint in known else values.get(joint)
    complete = [value for name in robot.joint_names
                if (value := known.get(name)) is not None and math.isfinite(value)]
    return tuple(complete) if len(complete) == len(robot.joint_names) else None


def _group_values(actuator: Actuator, quantity: Quantity) -> dict[str, float]:
    key = _field(actuator.section, quantity)
    value, where = actuator.section.get(key), f'{actuator.where}.{key}'
    if is_unset(value) or value == math.inf:
        return {}
    if isinstance(value, dict):
        return {joint: number(item, where) for joint, item in
                matched_values(mapping(value, where), actuator.joints, where).items()}
    return dict.fromkeys(actuator.joints, number(value, where))


def _field(section: dict[str, Any], quantity: Quantity) -> str:
    # An implicit actuator is limited by the solver: the _sim fields act, and its velocity_limit
    # alone does nothing. An explicit one is limited by its own model.
    if not str(section.get('class_type', '')).endswith('ImplicitActuator'):
        return quantity
    if quantity == 'velocity_limit':
        return 'velocity_limit_sim'
    if quantity == 'effort_limit' and is_unset(section.get('effort_limit')):
        return 'effort_limit_sim'
    return quantity


def quaternion_order(env: dict[str, Any], robot: Robot) -> Literal['wxyz', 'xyzw']:
    """
    Return the framework's order of quaternions: Isaac Lab 3 changed to (x, y, z, w).

    No version is recorded, but an identity rotation looks different in the two orders.

    :param env: content of ``env.yaml``.
    :param robot: the robot, whose own rotation is looked at first.
    """
    if robot.framework == MJLAB:
        return 'wxyz'
    for rotation in (*_rotations(robot.section.get('init_state')), *_rotations(env.get('scene'))):
        if rotation == IDENTITY_WXYZ:
            return 'wxyz'
        if rotation == IDENTITY_XYZW:
            return 'xyzw'
    return 'wxyz'


def _rotations(value: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == 'rot' and isinstance(item, (tuple, list)):
                yield tuple(item)
            else:
                yield from _rotations(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _rotations(item)
