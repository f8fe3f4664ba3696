"""What a person should know about a run before the policy drives a robot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim2real_policy.contract import PolicyContract
from sim2real_policy.offline.fields import count, is_unset, mapping
from sim2real_policy.offline.framework import MJLAB
from sim2real_policy.offline.observation_terms import TERM_KEYS, term_sections
from sim2real_policy.offline.robot_section import actuators, Robot


def training_notes(env: dict[str, Any], groups: tuple[str, ...], robot: Robot,
                   contract: PolicyContract) -> list[str]:
    """
    Return sentences about what the robot cannot have exactly as in training.

    :param env: content of ``env.yaml``.
    :param groups: the groups that the actor observes.
    :param robot: the robot.
    :param contract: what was made of them.
    """
    return [*_term_notes(env, groups), *_function_notes(contract), *_command_notes(env, contract),
            *_robot_notes(robot, contract)]


def _term_notes(env: dict[str, Any], groups: tuple[str, ...]) -> Iterator[str]:
    for group, name, section in term_sections(env, groups):
        unknown = sorted(set(section) - set(TERM_KEYS))
        if unknown:
            yield f'{group}.{name} has settings that are not known here and do not act: {unknown}'
        lag = section.get('delay_max_lag')
        if not is_unset(lag) and count(lag, f'{group}.{name}.delay_max_lag') > 0:
            yield (f'{group}.{name} was delayed by up to {lag} steps at random in training; '
                   'on the robot its own delay takes that place')
        sensor = mapping(section.get('params'), name).get('sensor_name')
        if sensor is not None:
            yield (f"{group}.{name} is the sensor '{sensor}' in its own frame; give the IMU in "
                   'that frame')


def _function_notes(contract: PolicyContract) -> Iterator[str]:
    if contract.uses('base_lin_vel'):
        yield 'base_lin_vel is rarely measurable: the robot needs an estimate of it'
    if contract.uses('joint_effort'):
        yield 'joint_effort was the torque of the actuator model, not a measured one'


def _command_notes(env: dict[str, Any], contract: PolicyContract) -> Iterator[str]:
    if contract.command is None:
        return
    section = mapping(mapping(env.get('commands'), 'commands').get(contract.command.name),
                      'command')
    if section.get('heading_command') is True:
        yield ('training turned towards a heading and derived ang_vel_z from it; on the robot '
               'ang_vel_z is commanded directly, within its range')
    curriculum = mapping(env.get('curriculum'), 'curriculum')
    changing = [name for name, term in curriculum.items() if isinstance(term, dict)
                and any(word in str(term.get('func')) for word in ('command', 'cmd'))]
    if changing and is_unset(section.get('limit_ranges')):
        yield f'the command ranges are those at the start of training; {changing} widened them'


def _robot_notes(robot: Robot, contract: PolicyContract) -> Iterator[str]:
    if robot.framework == MJLAB:
        yield ('mjlab does not record the class of an action; these are read as joint position '
               'actions, because their joints have stiffness')
    for group in actuators(robot):
        delay = max((value for key in ('max_delay', 'delay_max_lag')
                     if isinstance(value := group.section.get(key), int)), default=0)
        if delay > 0:
            yield f'{group.where} delayed its targets by up to {delay} physics steps in training'
    unknown = [field for field in ('stiffness', 'damping', 'effort_limit')
               if getattr(contract.joints, field) is None]
    if unknown:
        yield f'not known from training for every joint: {", ".join(unknown)}'
    idle = [name for name in contract.joints.names if name not in contract.action_joints]
    if idle:
        yield f'no action drives {idle}; training held their targets at 0 rad, not at the default'
