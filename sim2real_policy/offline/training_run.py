"""Makes a contract from a training run of Isaac Lab or mjlab with rsl_rl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sim2real_policy.contract import parse_contract, PolicyContract, SCHEMA_VERSION
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.action_terms import action_terms, robot_name
from sim2real_policy.offline.agent_settings import agent_settings, AgentSettings
from sim2real_policy.offline.env_yaml import load_training_yaml
from sim2real_policy.offline.fields import count, mapping, number, refuse
from sim2real_policy.offline.framework import Framework, framework_of, ISAAC_LAB, MJLAB
from sim2real_policy.offline.observation_terms import observation_terms
from sim2real_policy.offline.recorded_facts import check_against, joint_order, recorded_facts
from sim2real_policy.offline.robot_section import (
    actuator_values,
    default_positions,
    default_velocities,
    find_robot,
    quaternion_order,
    Robot,
)
from sim2real_policy.offline.training_notes import training_notes
from sim2real_policy.offline.velocity_command import velocity_command

ONNX_FILE = 'policy.onnx'
NOT_EXPORTED = '0' * 64  # stands for the network's SHA-256 until there is a network


@dataclass(frozen=True)
class TrainingRun:
    """A run that was read: its contract (without the network's hash) and its actor's settings."""

    folder: Path
    contract: PolicyContract
    settings: AgentSettings
    notes: tuple[str, ...]


def contract_from_env(env: dict[str, Any], agent: dict[str, Any], joint_names: Sequence[str], *,
                      name: str = 'policy', control_period: float | None = None,
                      default_position: Sequence[float] | None = None,
                      position_limit: Sequence[tuple[float, float]] | None = None,
                      provenance: Mapping[str, str | int | float] | None = None,
                      ) -> PolicyContract:
    """
    Make a contract from the contents of ``env.yaml`` and ``agent.yaml``.

    :param env: as ``load_training_yaml`` reads it.
    :param agent: as ``load_training_yaml`` reads it; may be empty.
    :param joint_names: all joints in the policy's order, shape (joints,).
    :param name: name of the policy.
    :param control_period: instead of the one in ``env`` [s].
    :param default_position: instead of those in ``env`` [rad], shape (joints,).
    :param position_limit: hard limits [rad], shape (joints, 2), which ``env`` never tells.
    :param provenance: where the contract comes from.
    :raises ImportRunError: if something cannot be reproduced exactly.
    :raises ContractError: if the parts contradict each other.
    """
    framework = framework_of(env)
    robot = find_robot(env, framework, robot_name(env), joint_names)
    settings = agent_settings(agent, env['observations'])
    positions = tuple(default_position) if default_position is not None \
        else default_positions(robot)
    if len(positions) != len(robot.joint_names):
        raise ImportRunError(f'{len(positions)} default positions were given, expected '
                             f'{len(robot.joint_names)}, one per joint; give them all')
    clip = settings.raw_clip
    return parse_contract({
        'schema_version': SCHEMA_VERSION,
        'name': name,
        'control_period': _control_period(env, framework) if control_period is None
        else control_period,
        'network': {'onnx': ONNX_FILE, 'sha256': NOT_EXPORTED},
        'joints': _joints(robot, positions, position_limit),
        'observation': {'terms': observation_terms(env, settings.groups, robot)},
        'actions': {'raw_clip': None if clip is None else (-clip, clip),
                    'terms': action_terms(env, robot, positions)},
        'command': velocity_command(env, settings.groups),
        'conventions': {'quaternion_order': quaternion_order(env, robot),
                        'base_lin_vel_point': 'center_of_mass' if framework == ISAAC_LAB
                        else 'link_origin'},
        'provenance': {'framework': framework, **(provenance or {})},
    }, 'the contract of this run')


def _joints(robot: Robot, positions: tuple[float, ...],
            position_limit: Sequence[tuple[float, float]] | None) -> dict[str, Any]:
    return {'names': robot.joint_names, 'default_position': positions,
            'default_velocity': default_velocities(robot),
            'stiffness': actuator_values(robot, 'stiffness'),
            'damping': actuator_values(robot, 'damping'),
            'effort_limit': actuator_values(robot, 'effort_limit'),
            'velocity_limit': actuator_values(robot, 'velocity_limit'),
            'position_limit': position_limit}


def _control_period(env: dict[str, Any], framework: Framework) -> float:
    where, section = 'env.yaml: sim', mapping(env.get('sim'), 'env.yaml: sim')
    key = 'dt'
    if framework == MJLAB:
        where, section = f'{where}.mujoco', mapping(section.get('mujoco'), f'{where}.mujoco')
        key = 'timestep'
    step = number(section.get(key), f'{where}.{key}')
    decimation = count(env.get('decimation'), 'env.yaml: decimation')
    if step <= 0.0 or decimation == 0:
        refuse(f'{where}.{key} * decimation', f'{step} * {decimation}', 'a positive period')
    # The decimal that stands in the file is what a person meant: 0.002 * 9 is 0.018, while the
    # product of the binary numbers is 0.018000000000000002.
    return float(Decimal(repr(step)) * decimation)


def read_training_run(folder: Path, joint_names: Sequence[str] | None = None,
                      name: str | None = None) -> TrainingRun:
    """
    Read the folder of a run.

    :param folder: as the trainer wrote it, with ``params/env.yaml`` and ``params/agent.yaml``.
    :param joint_names: the joints in the policy's order, for a run that does not record them.
    :param name: name of the policy; by default the experiment's, else the folder's.
    :raises ImportRunError: if a file is missing or something cannot be reproduced exactly.
    :raises ContractError: if the parts contradict each other.
    """
    if not folder.is_dir():
        raise ImportRunError(f'there is no training run at {folder}; expected a folder with '
                             'params/env.yaml, params/agent.yaml and model_*.pt. Check the path')
    env = load_training_yaml(folder / 'params' / 'env.yaml')
    agent = load_training_yaml(folder / 'params' / 'agent.yaml')
    framework = framework_of(env)
    settings = agent_settings(agent, env['observations'])
    facts = recorded_facts(folder, robot_name(env))
    names, source = joint_order(facts, joint_names)
    limits = next((known.position_limit for known in facts if known.position_limit), None)
    contract = contract_from_env(
        env, agent, names, name=name or settings.experiment or folder.resolve().name,
        position_limit=limits, provenance={'joint_order_from': source})
    for known in facts:
        check_against(contract, known)
    robot = find_robot(env, framework, robot_name(env), names)
    notes = training_notes(env, settings.groups, robot, contract)
    return TrainingRun(folder, contract, settings, tuple(notes))
