"""The actor's observation terms in ``env.yaml``, as terms of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim2real_policy.contract import JOINT_FUNCTIONS
from sim2real_policy.errors import closest, ImportRunError
from sim2real_policy.offline.fields import (
    bounds,
    count,
    flag,
    is_unset,
    mapping,
    number,
    refuse,
    sequence,
    text,
    words,
)
from sim2real_policy.offline.framework import own_name
from sim2real_policy.offline.joint_patterns import matched_names
from sim2real_policy.offline.robot_section import Robot

# Function -> the parameters that it may have. mjlab's 'biased' adds the simulated error of the
# encoders, which is zero on average and has no place on the robot.
PARAMETERS = {
    'base_ang_vel': ('asset_cfg',),
    'base_lin_vel': ('asset_cfg',),
    'projected_gravity': ('asset_cfg',),
    **dict.fromkeys(JOINT_FUNCTIONS, ('asset_cfg', 'biased')),
    'last_action': ('action_name',),
    'generated_commands': ('command_name',),
    'builtin_sensor': ('sensor_name',),
}
SENSORS = {'imu_ang_vel': 'base_ang_vel', 'imu_lin_vel': 'base_lin_vel'}
MODIFIERS = {'scale': 'multiplier', 'bias': 'value', 'clip': 'bounds'}
TERM_KEYS = ('func', 'params', 'modifiers', 'noise', 'clip', 'scale', 'history_length',
             'flatten_history_dim', 'delay_min_lag', 'delay_max_lag', 'delay_per_env',
             'delay_hold_prob', 'delay_update_period', 'delay_per_env_phase')


def term_sections(env: dict[str, Any],
                  groups: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """
    Yield (group, term, section) of every enabled term, in the order of the actor's input.

    :param env: content of ``env.yaml``.
    :param groups: the groups that the actor observes, in its order.
    """
    observations = mapping(env.get('observations'), 'env.yaml: observations')
    for group in groups:
        where = f'env.yaml: observations.{group}'
        section = mapping(observations.get(group), where)
        terms = mapping(section['terms'], f'{where}.terms') if 'terms' in section else section
        for name, term in terms.items():
            if isinstance(term, dict) and 'func' in term:
                yield group, name, term


def observation_terms(env: dict[str, Any], groups: tuple[str, ...],
                      robot: Robot) -> list[dict[str, Any]]:
    """
    Return the terms as plain data of the contract.

    :param env: content of ``env.yaml``.
    :param groups: the groups that the actor observes, in its order.
    :param robot: the robot whose joints are observed.
    :raises ImportRunError: if a term cannot be reproduced exactly.
    """
    for group in groups:
        _check_group(mapping(env['observations'].get(group), group), group)
    result = []
    for group, name, term in term_sections(env, groups):
        where = f'env.yaml: observations.{group}.{name}'
        unique = name if len(groups) == 1 else f'{group}/{name}'
        result.append({'name': unique, **_function(term, where, robot),
                       'modifiers': _modifiers(term, where), 'clip': _clip(term, where),
                       'scale': _scale(term.get('scale'), f'{where}.scale'),
                       'history_length': _history(env['observations'][group], term, where)})
    if not result:
        raise ImportRunError(f'env.yaml: the observation groups {list(groups)} have no enabled '
                             'term, expected at least one. Check the configuration of the task')
    return result


def _check_group(section: dict[str, Any], group: str) -> None:
    where = f'env.yaml: observations.{group}.concatenate_terms'
    if not flag(section.get('concatenate_terms'), where, default=True):
        refuse(where, False, 'true, because the actor takes one vector')


def _function(term: dict[str, Any], where: str, robot: Robot) -> dict[str, Any]:
    function = own_name(term['func'], f'{where}.func', sorted(PARAMETERS))
    where = f'{where}.params'
    params = mapping(term.get('params'), where)
    for key in params:
        if key not in PARAMETERS[function]:
            raise ImportRunError(f"{where} has '{key}'{closest(key, PARAMETERS[function])}, "
                                 f'which {function} is not known to take; expected '
                                 f'{list(PARAMETERS[function])}. Update sim2real_policy')
    if function == 'builtin_sensor':
        return {'function': _sensor(params, where)}
    if function == 'last_action':
        action = params.get('action_name')
        return {'function': function,
                'action_term': None if action is None else text(action, where)}
    if function == 'generated_commands':
        text(params.get('command_name'), f'{where}.command_name')
        return {'function': function}
    joints = _selected_joints(params.get('asset_cfg'), f'{where}.asset_cfg', robot)
    return {'function': function, 'joints': joints if function in JOINT_FUNCTIONS else None}


def _sensor(params: dict[str, Any], where: str) -> str:
    sensor = text(params.get('sensor_name'), f'{where}.sensor_name')
    name = sensor.rsplit('/', 1)[-1]
    if name not in SENSORS:
        refuse(f'{where}.sensor_name', sensor, f'one that ends with {" or ".join(SENSORS)}')
    return SENSORS[name]


def _selected_joints(value: Any, where: str, robot: Robot) -> tuple[str, ...]:
    section = mapping(value, where)
    if section.get('name', robot.name) != robot.name:
        refuse(f'{where}.name', section['name'], f"the robot of the actions, '{robot.name}'")
    preserve = flag(section.get('preserve_order'), f'{where}.preserve_order', default=False)
    patterns = words(section.get('joint_names'), f'{where}.joint_names')
    by_name = matched_names(patterns, robot.joint_names, f'{where}.joint_names', preserve)
    indices = section.get('joint_ids')
    if is_unset(indices) or indices == slice(None):
        return by_name if patterns else robot.joint_names
    by_index = _joints_at(indices, f'{where}.joint_ids', robot)
    if patterns and by_name != by_index:
        refuse(f'{where}.joint_ids', indices, f'the indices of {list(by_name)}, as in '
               'joint_names')
    return by_index


def _joints_at(indices: Any, where: str, robot: Robot) -> tuple[str, ...]:
    chosen = [count(index, where) for index in sequence(indices, where)]
    if not chosen or max(chosen) >= len(robot.joint_names):
        refuse(where, indices, f'indices below {len(robot.joint_names)}, the number of joints')
    return tuple(robot.joint_names[index] for index in chosen)


def _modifiers(term: dict[str, Any], where: str) -> list[dict[str, Any]]:
    return [_modifier(mapping(modifier, f'{where}.modifiers[{index}]'),
                      f'{where}.modifiers[{index}]')
            for index, modifier in enumerate(sequence(term.get('modifiers'),
                                                      f'{where}.modifiers'))]


def _modifier(section: dict[str, Any], where: str) -> dict[str, Any]:
    kind = own_name(section.get('func'), f'{where}.func', sorted(MODIFIERS))
    params = mapping(section.get('params'), f'{where}.params')
    key = MODIFIERS[kind]
    if set(params) != {key}:
        refuse(f'{where}.params', sorted(params), f"'{key}' alone")
    read = bounds if kind == 'clip' else number
    return {'kind': kind, 'value': read(params[key], f'{where}.params.{key}')}


def _clip(term: dict[str, Any], where: str) -> tuple[float, float] | None:
    value = term.get('clip')
    return bounds(value, f'{where}.clip') if value not in (None, {}, (), []) else None


def _scale(value: Any, where: str) -> float | tuple[float, ...] | None:
    if is_unset(value):
        return None
    if not isinstance(value, (tuple, list)):
        return number(value, where)
    scales = tuple(number(item, where) for item in value)
    return scales[0] if len(scales) == 1 else scales  # training broadcasts a single one


def _history(group: dict[str, Any], term: dict[str, Any], where: str) -> int:
    smallest = term.get('delay_min_lag')
    if not is_unset(smallest) and count(smallest, f'{where}.delay_min_lag') > 0:
        refuse(f'{where}.delay_min_lag', smallest, '0: the robot does not delay its newest '
               'measurement on purpose')
    source = term if is_unset(group.get('history_length')) else group
    length = 0 if is_unset(source.get('history_length')) else \
        count(source['history_length'], f'{where}.history_length')
    flat = flag(source.get('flatten_history_dim'), f'{where}.flatten_history_dim', default=True)
    if length > 0 and not flat:
        refuse(f'{where}.flatten_history_dim', False, 'true, because the actor takes one vector')
    return length
