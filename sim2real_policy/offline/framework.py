"""Tells Isaac Lab from mjlab, and checks that a named function is the framework's own."""

from __future__ import annotations

import re
from typing import Any, Literal

from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.fields import mapping, text

Framework = Literal['Isaac Lab', 'mjlab']
ISAAC_LAB: Framework = 'Isaac Lab'
MJLAB: Framework = 'mjlab'

_OWN_MODULE = re.compile(r'(omni\.isaac\.lab|isaaclab(_\w+)?|mjlab)\.')


def framework_of(env: dict[str, Any]) -> Framework:
    """
    Return the framework that wrote ``env.yaml``.

    :param env: the file's content.
    :raises ImportRunError: if it has no observation and action managers.
    """
    for section in ('observations', 'actions'):
        if not mapping(env.get(section), f'env.yaml: {section}'):
            raise ImportRunError(
                f"env.yaml has no '{section}', expected a manager-based environment of Isaac Lab "
                'or mjlab; a direct environment keeps them in code, which cannot be read here')
    simulation = mapping(env.get('sim'), 'env.yaml: sim')
    scene = mapping(env.get('scene'), 'env.yaml: scene')
    return MJLAB if 'mujoco' in simulation or 'entities' in scene else ISAAC_LAB


def own_name(value: Any, where: str, supported: list[str]) -> str:
    """
    Return the bare name of a function or class of the framework.

    :param value: such as ``isaaclab.envs.mdp.observations:joint_pos_rel``.
    :param where: its place.
    :param supported: the names that this package knows.
    :raises ImportRunError: if it is another package's own, or not supported.
    """
    full = text(value, where)
    name = re.split(r'[.:]', full)[-1]
    if name not in supported or not _OWN_MODULE.match(full):
        raise ImportRunError(f"{where} is '{full}', expected one of Isaac Lab's or mjlab's own: "
                             f'{", ".join(supported)}. Train without it, or add it to '
                             'sim2real_policy')
    return name
