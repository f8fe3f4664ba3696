"""A run becomes a contract with training's exact numbers, or is refused with the place."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from math import inf
from pathlib import Path
import shutil
from typing import Any

import pytest
from sim2real_policy.contract import load_contract, ObservationTerm, PolicyContract, save_contract
from sim2real_policy.errors import ContractError, ImportRunError
from sim2real_policy.offline.env_yaml import load_training_yaml, PythonTag
from sim2real_policy.offline.training_run import contract_from_env, read_training_run

DATA = Path(__file__).parent / 'data'
JOINTS = ('l_hip', 'r_hip', 'torso', 'l_knee', 'r_knee', 'l_ankle', 'r_ankle')
TOY = load_training_yaml(DATA / 'isaaclab' / 'toy_env.yaml')
PUP = load_training_yaml(DATA / 'pup_run' / 'params' / 'env.yaml')
PUP_AGENT = load_training_yaml(DATA / 'pup_run' / 'params' / 'agent.yaml')
PUP_JOINTS = tuple(f'{leg}_{part}_joint' for leg in ('FL', 'FR', 'RL', 'RR')
                   for part in ('hip', 'thigh', 'calf'))
MDP = 'isaaclab.envs.mdp.observations'


Edit = Callable[[dict[str, Any]], Any]


def toy(edit: Edit = lambda env: None, agent: dict[str, Any] | None = None,
        **options: Any) -> PolicyContract:
    env = deepcopy(TOY)
    edit(env)
    return contract_from_env(env, agent or {}, JOINTS, **options)


def term(contract: PolicyContract, name: str) -> ObservationTerm:
    return next(term for term in contract.observation.terms if term.name == name)


def test_pup_has_the_exact_numbers_of_env_yaml() -> None:
    pytest.importorskip('onnxruntime', reason='reads the joint order from policy.onnx')
    run = read_training_run(DATA / 'pup_run')
    contract = run.contract
    assert contract.name == 'pup_velocity'
    assert contract.control_period == 0.02
    assert contract.joints.names == PUP_JOINTS
    assert contract.joints.default_position == (0.05, 0.75, -1.5, -0.05, 0.75, -1.5) * 2
    assert contract.joints.stiffness == (25.0, 25.0, 35.0) * 4
    assert contract.joints.damping == (1.0, 1.0, 1.5) * 4
    assert contract.joints.effort_limit == (24.0, 24.0, 36.0) * 4
    assert contract.joints.velocity_limit is None
    assert [(t.name, t.function) for t in contract.observation.terms] == [
        ('base_ang_vel', 'base_ang_vel'), ('projected_gravity', 'projected_gravity'),
        ('joint_pos', 'joint_pos_rel'), ('joint_vel', 'joint_vel_rel'),
        ('actions', 'last_action'), ('command', 'generated_commands')]
    assert contract.observation_width == 45
    action = contract.actions.terms[0]
    assert (action.joints, action.scale) == (PUP_JOINTS, (0.25,) * 12)
    assert action.offset == contract.joints.default_position
    assert contract.command is not None and contract.command.ranges is not None
    assert contract.command.name == 'twist'
    assert contract.command.ranges.lin_vel_x == (-1.0, 1.2)
    assert contract.conventions.base_lin_vel_point == 'link_origin'
    assert run.settings.activation == 'elu' and run.settings.normalised
    assert any('heading' in note for note in run.notes)


def test_isaac_lab_has_every_detail_of_a_term() -> None:
    contract = toy(agent={'clip_actions': 1.5})
    assert contract.joints.default_position == (-0.1, -0.1, 0.0, 0.3, 0.35, -0.2, -0.2)
    assert term(contract, 'lin').clip == (-0.5, 0.5)
    assert term(contract, 'lin').scale == 2.0
    assert term(contract, 'ang').history_length == 3
    assert term(contract, 'cmd').scale == (2.0, 2.0, 0.25)
    assert term(contract, 'qsub').joints == ('r_ankle', 'l_hip', 'r_hip', 'l_knee')
    assert term(contract, 'qsub_sorted').joints == ('l_hip', 'r_hip', 'l_knee', 'r_ankle')
    assert term(contract, 'vel').joints == JOINTS
    assert [(m.kind, m.value) for m in term(contract, 'modt').modifiers] == [
        ('bias', 0.1), ('scale', 3.0)]
    assert term(contract, 'act_torso').action_term == 'torso'
    assert contract.actions.raw_clip == (-1.5, 1.5)
    legs, torso = contract.actions.terms
    assert legs.joints == ('r_ankle', 'l_hip', 'r_hip', 'l_knee')
    assert legs.scale == (0.5, 0.25, 0.25, 0.5)
    assert legs.offset == (-0.2, -0.1, -0.1, 0.3)  # the default pose, though the file says 0.0
    assert legs.clip == ((-0.4, 0.1), (-0.2, 0.2), (-0.2, 0.2), (-inf, inf))
    assert (torso.scale, torso.offset, torso.clip) == ((0.1,), (0.05,), None)
    assert contract.command is not None and contract.command.ranges is not None
    assert contract.command.ranges.ang_vel_z == (-0.8, 0.8)
    assert contract.conventions.quaternion_order == 'wxyz'
    assert contract.conventions.base_lin_vel_point == 'center_of_mass'


def test_gains_are_known_or_not() -> None:
    joints = toy().joints
    assert joints.stiffness == (30.0, 30.0, 80.0, 60.0, 60.0, 20.0, 20.0)
    assert joints.damping == (0.8, 0.8, 2.0, 1.5, 1.5, 0.5, 0.5)
    assert joints.effort_limit == (20.0, 20.0, 40.0, 40.0, 40.0, 12.0, 12.0)
    assert joints.velocity_limit is None  # the ankles have none
    actuators = deepcopy(TOY)['scene']['robot']['actuators']
    actuators['legs']['stiffness'] = None
    assert toy(lambda env: env['scene']['robot'].update(actuators=actuators)
               ).joints.stiffness is None


def test_a_contract_survives_saving(tmp_path: Path) -> None:
    contract = toy(position_limit=((-1.0, 1.0),) * 7)
    save_contract(contract, tmp_path / 'contract.yaml')
    assert load_contract(tmp_path / 'contract.yaml') == contract


@pytest.mark.parametrize(('step', 'decimation', 'period'), [
    (0.005, 4, 0.02), (0.002, 9, 0.018), (0.0033, 3, 0.0099), (1 / 120, 2, 1 / 60)])
def test_the_period_is_the_decimal_product(step: float, decimation: int, period: float) -> None:
    def edit(env: dict[str, Any]) -> None:
        env['sim']['dt'], env['decimation'] = step, decimation
    assert toy(edit).control_period == period


def test_the_group_history_overrides_the_terms_even_with_zero() -> None:
    for length in (5, 0):
        contract = toy(lambda env, n=length: env['observations']['policy'].update(
            history_length=n))
        assert {t.history_length for t in contract.observation.terms} == {length}


def test_disabled_terms_and_unset_fields_are_skipped() -> None:
    def edit(env: dict[str, Any]) -> None:
        env['observations']['policy']['lin'] = None
        env['observations']['policy']['height_scan'] = None
        env['actions']['torso'] = None
        del env['observations']['policy']['act_torso']
    contract = toy(edit, agent={'clip_actions': {}, 'obs_groups': {}, 'actor': {}})
    assert 'lin' not in [t.name for t in contract.observation.terms]
    assert [t.name for t in contract.actions.terms] == ['legs']
    assert contract.actions.raw_clip is None


def test_several_groups_come_in_the_order_of_the_agent() -> None:
    def edit(env: dict[str, Any]) -> None:
        env['observations']['extra'] = {'lin': deepcopy(TOY['observations']['policy']['lin'])}
    contract = toy(edit, agent={'obs_groups': {'policy': ('extra', 'policy')}})
    assert [t.name for t in contract.observation.terms][:2] == ['extra/lin', 'policy/lin']
    with pytest.raises(ImportRunError, match="observes the group 'absent', expected one of"):
        toy(agent={'obs_groups': {'policy': ['absent']}})


def test_joints_may_be_chosen_by_index() -> None:
    def edit(env: dict[str, Any]) -> None:
        env['observations']['policy']['vel']['params'] = {
            'asset_cfg': {'name': 'robot', 'joint_names': None, 'joint_ids': [6, 0]}}
    assert term(toy(edit), 'vel').joints == ('r_ankle', 'l_hip')


def test_quaternions_of_isaac_lab_3_are_seen_by_the_identity() -> None:
    def edit(env: dict[str, Any]) -> None:
        env['scene']['robot']['init_state']['rot'] = (0.0, 0.0, 0.0, 1.0)
    assert toy(edit).conventions.quaternion_order == 'xyzw'


def test_limit_ranges_win_over_the_first_ranges() -> None:
    def edit(env: dict[str, Any]) -> None:
        env['commands']['v']['limit_ranges'] = {
            'lin_vel_x': (-1.0, 2.0), 'lin_vel_y': (-0.5, 0.5), 'ang_vel_z': (-1.5, 1.5)}
    command = toy(edit).command
    assert command is not None and command.ranges is not None
    assert command.ranges.lin_vel_x == (-1.0, 2.0)


def test_base_velocity_of_an_mjlab_imu() -> None:
    env = deepcopy(PUP)
    env['observations']['actor']['terms']['base_ang_vel']['params'] = {
        'sensor_name': 'robot/imu_lin_vel'}
    contract = contract_from_env(env, PUP_AGENT, PUP_JOINTS)
    assert contract.observation.terms[0].function == 'base_lin_vel'


def policy(env: dict[str, Any]) -> dict[str, Any]:
    return env['observations']['policy']


REFUSED = [
    (lambda env: policy(env)['ang'].update(func=f'{MDP}:height_scan'),
     r"policy.ang.func is 'isaaclab.envs.mdp.observations:height_scan', expected one of"),
    (lambda env: policy(env)['ang'].update(func='my_robot.mdp:base_ang_vel'), 'my_robot.mdp'),
    (lambda env: policy(env)['ang'].update(func='lambda env: env.x'), 'lambda env'),
    (lambda env: policy(env)['ang'].update(params={'gain': 2.0}), "params has 'gain'"),
    (lambda env: policy(env)['ang'].update(scale=PythonTag('object/apply:torch.x')),
     "scale holds the Python object 'object/apply:torch.x'"),
    (lambda env: policy(env)['ang'].update(flatten_history_dim=False), 'flatten_history_dim'),
    (lambda env: policy(env)['ang'].update(delay_min_lag=1), 'delay_min_lag holds 1, expected 0'),
    (lambda env: policy(env).update(concatenate_terms=False), 'concatenate_terms holds False'),
    (lambda env: policy(env)['modt']['modifiers'].append(
        {'func': 'isaaclab.utils.modifiers.modifier:DigitalFilter', 'params': {}}),
     r"modifiers\[2\].func is '.*DigitalFilter', expected one of .*: bias, clip, scale"),
    (lambda env: policy(env)['qsub']['params']['asset_cfg'].update(name='box'),
     "holds 'box', expected the robot of the actions, 'robot'"),
    (lambda env: policy(env)['cmd'].update(params={}), 'command_name holds nothing'),
    (lambda env: env['commands'].update(v={'class_type': 'isaaclab:UniformPoseCommand'}),
     'UniformPoseCommand'),
    (lambda env: env['actions']['legs'].update(
        class_type='isaaclab.envs.mdp.actions.joint_actions:JointEffortAction'),
     "JointEffortAction', expected one of .*: JointPositionAction"),
    (lambda env: env['actions']['legs'].update(scale={'.*_hop': 1.0}), r"'\.\*_hop' matches none"),
    (lambda env: env['actions']['torso'].update(asset_name='arm'), "drive .'arm', 'robot'."),
    (lambda env: env['scene']['robot']['init_state'].update(joint_pos=None), 'no joint_pos'),
    (lambda env: env['scene']['robot']['init_state']['joint_pos'].update({'l_.*': 0.0}),
     "'l_hip' matches both"),
    (lambda env: env.update(decimation=0), 'expected a positive period'),
    (lambda env: env.update(decimation=True), 'expected a whole number'),
    (lambda env: env.pop('observations'), "no 'observations', expected a manager-based"),
]


@pytest.mark.parametrize(('edit', 'reason'), REFUSED)
def test_what_cannot_be_reproduced_is_refused(edit: Edit, reason: str) -> None:
    with pytest.raises(ImportRunError, match=reason):
        toy(edit)


@pytest.mark.parametrize(('agent', 'reason'), [
    ({'policy': {'class_name': 'ActorCriticRecurrent'}}, 'ActorCriticRecurrent'),
    ({'actor': {'class_name': 'rsl_rl.models:CNNModel'}}, 'CNNModel'),
    ({'actor': {'class_name': 'MLPModel', 'rnn_type': 'lstm'}}, "rnn_type holds 'lstm'"),
    ({'policy': {'state_dependent_std': True}}, 'state_dependent_std holds True'),
    ({'actor': {'distribution_cfg': {'class_name': 'BetaDistribution'}}}, 'BetaDistribution'),
    ({'policy': {'activation': 'sine'}}, "activation holds 'sine', expected one of elu"),
    ({'clip_actions': -1.0}, 'clip_actions holds -1.0, expected a positive number'),
    ({'clip_actions': True}, 'clip_actions holds True'),
])
def test_other_networks_and_settings_are_refused(agent: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImportRunError, match=reason):
        toy(agent=agent)


def test_a_scale_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ContractError, match="'ang' has 2 scales for 3 values"):
        toy(lambda env: policy(env)['ang'].update(scale=(1.0, 2.0)))


def test_mjlab_actions_that_are_no_positions_are_refused() -> None:
    env = deepcopy(PUP)
    del env['actions']['joint_pos']['use_default_offset']
    with pytest.raises(ImportRunError, match='the fields of a JointPositionAction of mjlab'):
        contract_from_env(env, PUP_AGENT, PUP_JOINTS)
    env = deepcopy(PUP)
    env['scene']['entities']['robot']['articulation']['actuators'][0]['stiffness'] = 0.0
    with pytest.raises(ImportRunError, match=r'stiffness holds 0\.0, expected a positive'):
        contract_from_env(env, PUP_AGENT, PUP_JOINTS)


def test_random_delays_become_a_note(tmp_path: Path) -> None:
    shutil.copytree(DATA / 'pup_run' / 'params', tmp_path / 'run' / 'params')
    path = tmp_path / 'run' / 'params' / 'env.yaml'
    path.write_text(path.read_text().replace('delay_max_lag: 0', 'delay_max_lag: 3'))
    notes = read_training_run(tmp_path / 'run', PUP_JOINTS).notes
    assert any('joint_vel was delayed by up to 3 steps' in note for note in notes)
    assert any('delayed its targets by up to 3 physics steps' in note for note in notes)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRunError, match='there is no training run at'):
        read_training_run(tmp_path / 'absent')
    with pytest.raises(ImportRunError, match=r'cannot read .*env.yaml'):
        read_training_run(tmp_path)
