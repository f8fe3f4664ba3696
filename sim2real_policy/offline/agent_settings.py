"""The parts of ``agent.yaml`` that the policy depends on, in rsl_rl's old and new layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.fields import flag, is_unset, mapping, number, refuse, text, words

NETWORKS = ('ActorCritic', 'StudentTeacher', 'MLPModel')
DISTRIBUTIONS = ('GaussianDistribution',)
ACTIVATIONS = ('elu', 'selu', 'relu', 'crelu', 'lrelu', 'tanh', 'sigmoid', 'identity',
               'softplus', 'gelu', 'swish', 'mish')


@dataclass(frozen=True)
class AgentSettings:
    """What rsl_rl did around the network; ``raw_clip`` bounds the raw action on both sides."""

    groups: tuple[str, ...]
    raw_clip: float | None
    activation: str | None
    normalised: bool
    experiment: str | None


def agent_settings(agent: dict[str, Any], known_groups: dict[str, Any]) -> AgentSettings:
    """
    Read ``agent.yaml``.

    :param agent: its content.
    :param known_groups: the observation groups of ``env.yaml``.
    :raises ImportRunError: if the actor is of a kind that is not supported.
    """
    role = 'policy' if is_unset(agent.get('actor')) else 'actor'
    where = f'agent.yaml: {role}'
    actor = mapping(agent.get(role), where)
    _refuse_other_networks(actor, where)
    activation = actor.get('activation')
    return AgentSettings(
        groups=_observation_groups(agent, role, known_groups),
        raw_clip=_raw_clip(agent.get('clip_actions')),
        activation=None if is_unset(activation) else _activation(activation, where),
        normalised=any(flag(section.get(key), f'agent.yaml: {key}', default=False)
                       for section, key in ((agent, 'empirical_normalization'),
                                            (actor, 'actor_obs_normalization'),
                                            (actor, 'obs_normalization'))),
        experiment=agent.get('experiment_name') or None)


def _refuse_other_networks(actor: dict[str, Any], where: str) -> None:
    kind = actor.get('class_name')
    name = text(kind, f'{where}.class_name').replace(':', '.').split('.')[-1] \
        if not is_unset(kind) else None
    if name is not None and name not in NETWORKS:
        refuse(f'{where}.class_name', kind, 'a plain network without memory or cameras: '
               f'{", ".join(NETWORKS)}')
    for key in ('rnn_type', 'cnn_cfg'):
        if name == 'MLPModel' and not is_unset(actor.get(key)):
            refuse(f'{where}.{key}', actor[key], 'nothing, as in a plain network')
    if flag(actor.get('state_dependent_std'), f'{where}.state_dependent_std', default=False):
        refuse(f'{where}.state_dependent_std', True, 'false')
    distribution = mapping(actor.get('distribution_cfg'), f'{where}.distribution_cfg')
    kind = distribution.get('class_name')
    if not is_unset(kind) and str(kind).replace(':', '.').split('.')[-1] not in DISTRIBUTIONS:
        refuse(f'{where}.distribution_cfg.class_name', kind, ', '.join(DISTRIBUTIONS))


def _observation_groups(agent: dict[str, Any], role: str,
                        known: dict[str, Any]) -> tuple[str, ...]:
    where = f'agent.yaml: obs_groups.{role}'
    sets = mapping(agent.get('obs_groups'), 'agent.yaml: obs_groups')
    groups = words(sets.get(role), where)
    if not groups:  # as rsl_rl: the group of the same name, else 'policy'
        groups = (role,) if not is_unset(known.get(role)) else ('policy',)
    for group in groups:
        if is_unset(known.get(group)):
            raise ImportRunError(f"{where}: the actor observes the group '{group}', expected one "
                                 f'of those in env.yaml: {sorted(known)}. Check that both files '
                                 'are from one run')
    return groups


def _raw_clip(value: Any) -> float | None:
    if is_unset(value):
        return None
    limit = number(value, 'agent.yaml: clip_actions')
    if limit <= 0.0:
        refuse('agent.yaml: clip_actions', value, 'a positive number or null')
    return limit


def _activation(value: Any, where: str) -> str:
    name = text(value, f'{where}.activation')
    if name not in ACTIVATIONS:
        refuse(f'{where}.activation', name, f'one of {", ".join(ACTIVATIONS)}')
    return name
