"""The velocity command that the actor observes, and the ranges it saw in training."""

from __future__ import annotations

from typing import Any

from sim2real_policy.contract import VELOCITY_COMMAND
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.fields import bounds, is_unset, mapping, refuse
from sim2real_policy.offline.observation_terms import term_sections


def velocity_command(env: dict[str, Any], groups: tuple[str, ...]) -> dict[str, Any] | None:
    """
    Return the command as plain data of the contract, or None if the actor observes none.

    :param env: content of ``env.yaml``.
    :param groups: the groups that the actor observes.
    :raises ImportRunError: if there are several, or it is no velocity command.
    """
    names = {section['params']['command_name'] for _, _, section in term_sections(env, groups)
             if 'command_name' in mapping(section.get('params'), 'env.yaml: params')}
    if not names:
        return None
    if len(names) > 1:
        raise ImportRunError(f'env.yaml: the actor observes the commands {sorted(names)}, '
                             'expected one velocity command. Train with one')
    name = names.pop()
    return {'name': name, 'kind': 'velocity', 'ranges': _ranges(env, name)}


def _ranges(env: dict[str, Any], name: str) -> dict[str, tuple[float, float]] | None:
    commands = mapping(env.get('commands'), 'env.yaml: commands')
    if not commands:
        return None
    where = f'env.yaml: commands.{name}'
    section = mapping(commands.get(name), where)
    # With a curriculum 'ranges' holds the first values and 'limit_ranges' the last.
    key = 'ranges' if is_unset(section.get('limit_ranges')) else 'limit_ranges'
    ranges = mapping(section.get(key), f'{where}.{key}')
    if all(axis in ranges for axis in VELOCITY_COMMAND):
        return {axis: bounds(ranges[axis], f'{where}.{key}.{axis}') for axis in VELOCITY_COMMAND}
    if not str(section.get('class_type')).endswith('VelocityCommand'):
        refuse(where, section.get('class_type', sorted(section)), 'a velocity command with '
               f'ranges for {", ".join(VELOCITY_COMMAND)}')
    return None
