"""The joint order is taken from what the run recorded, never guessed, and compared."""

from pathlib import Path
import shutil

import pytest
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.env_yaml import load_training_yaml
from sim2real_policy.offline.recorded_facts import (
    check_against,
    facts_from_metadata,
    joint_order,
    RecordedFacts,
)
from sim2real_policy.offline.training_run import contract_from_env, read_training_run

DATA = Path(__file__).parent / 'data'
JOINTS = ('l_hip', 'r_hip', 'torso', 'l_knee', 'r_knee', 'l_ankle', 'r_ankle')
DESCRIPTORS = """
articulations:
  robot:
    joint_names: [l_hip, r_hip, torso, l_knee, r_knee, l_ankle, r_ankle]
    default_joint_pos: [-0.10000000149011612, -0.10000000149011612, 0.0, 0.30000001192092896,
                        0.3499999940395355, -0.20000000298023224, -0.20000000298023224]
    default_joint_pos_limits: [[-1, 1], [-1, 1], [-2, 2], [-1, 1], [-1, 1], [-1, 1], [-1, 1]]
    default_joint_stiffness: [0.0, 0.0, 80.0, 60.0, 60.0, 0.0, 0.0]
scene: {decimation: 4, dt: 0.02, physics_dt: 0.005}
"""


@pytest.fixture
def toy_run(tmp_path: Path) -> Path:
    (tmp_path / 'params').mkdir()
    shutil.copy(DATA / 'isaaclab' / 'toy_env.yaml', tmp_path / 'params' / 'env.yaml')
    (tmp_path / 'params' / 'agent.yaml').write_text('experiment_name: toy\n')
    return tmp_path


def describe(run: Path, text: str) -> None:
    (run / 'io_descriptors').mkdir(exist_ok=True)
    (run / 'io_descriptors' / 'IO_descriptors.yaml').write_text(text)


def test_without_a_record_the_order_must_be_given(toy_run: Path) -> None:
    with pytest.raises(ImportRunError, match='nothing in this run records the joint order'):
        read_training_run(toy_run)
    run = read_training_run(toy_run, JOINTS)
    assert run.contract.joints.names == JOINTS
    assert run.contract.provenance['joint_order_from'] == '--joint-names'


def test_descriptors_tell_the_order_and_the_limits(toy_run: Path) -> None:
    describe(toy_run, DESCRIPTORS)
    joints = read_training_run(toy_run).contract.joints
    assert joints.names == JOINTS
    assert joints.default_position[4] == 0.35  # env.yaml's, not the float32 beside it
    assert joints.position_limit is not None and joints.position_limit[2] == (-2.0, 2.0)


def test_metadata_of_an_onnx_tells_the_order() -> None:
    pytest.importorskip('onnxruntime', reason='reads the metadata of policy.onnx')
    run = read_training_run(DATA / 'pup_run')
    assert run.contract.provenance['joint_order_from'] == 'policy.onnx'
    assert run.contract.joints.names[:2] == ('FL_hip_joint', 'FL_thigh_joint')


@pytest.mark.parametrize(('old', 'new', 'reason'), [
    ('0.3499999940395355', '0.3508', 'default joint positions: env.yaml says'),
    ('dt: 0.02', 'dt: 0.01', r'control period: env.yaml says \[0.02\]'),
    ('80.0, 60.0', '80.0, 61.0', 'stiffness: env.yaml says'),
    ('robot:', 'arm:', "no articulation 'robot'"),
    ('l_knee,', 'l_nee,', 'matches none of the joints'),
])
def test_a_record_that_disagrees_is_refused(toy_run: Path, old: str, new: str,
                                            reason: str) -> None:
    describe(toy_run, DESCRIPTORS.replace(old, new))
    with pytest.raises(ImportRunError, match=reason):
        read_training_run(toy_run)


def test_two_orders_are_refused(toy_run: Path) -> None:
    describe(toy_run, DESCRIPTORS)
    with pytest.raises(ImportRunError, match='but --joint-names has'):
        read_training_run(toy_run, JOINTS[::-1])
    assert joint_order([], ['a', 'b']) == (('a', 'b'), '--joint-names')


def test_a_broken_onnx_beside_the_run_is_refused(toy_run: Path) -> None:
    pytest.importorskip('onnxruntime', reason='reads the metadata of policy.onnx')
    (toy_run / 'policy.onnx').write_bytes(b'not a network')
    with pytest.raises(ImportRunError, match='cannot be opened as an ONNX network'):
        read_training_run(toy_run, JOINTS)


@pytest.mark.parametrize(('key', 'text', 'reason'), [
    ('default_joint_pos', '-0.1,-0.1,0,0.3,0.3506,-0.2,-0.2', 'default joint positions'),
    ('default_joint_pos', '-0.1,-0.1,0', 'default joint positions'),
    ('action_scale', '0.25', 'action scales'),
    ('observation_names', 'lin,ang', 'observation terms'),
    ('command_names', 'twist', 'command: env.yaml says v'),
])
def test_metadata_may_only_differ_by_its_rounding(key: str, text: str, reason: str) -> None:
    env = load_training_yaml(DATA / 'isaaclab' / 'toy_env.yaml')
    contract = contract_from_env(env, {}, JOINTS)
    right = {'joint_names': ','.join(JOINTS),
             'default_joint_pos': '-0.1,-0.1,0,0.3,0.3504,-.2,-.2',
             'action_scale': '0.5,0.25,0.25,0.5,0.1', 'command_names': 'v'}
    check_against(contract, facts_from_metadata(right, 'policy.onnx'))
    with pytest.raises(ImportRunError, match=f'{reason}.*but policy.onnx says'):
        check_against(contract, facts_from_metadata({**right, key: text}, 'policy.onnx'))


def test_metadata_that_is_no_number_is_refused() -> None:
    with pytest.raises(ImportRunError, match="metadata action_scale holds 'x'"):
        facts_from_metadata({'joint_names': 'a', 'action_scale': 'x'}, 'policy.onnx')
    assert facts_from_metadata({'joint_names': 'a, b'}, 's') == RecordedFacts('s', ('a', 'b'))
