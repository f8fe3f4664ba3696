"""The physics model is the robot of ``pup.xml`` with what training added around it."""

from __future__ import annotations

from typing import Any

import pytest
from sim2real_policy.errors import ConfigError
from sim2real_policy.simulation.robot_model import build_model, find_start_pose, START_POSES

pytest.importorskip('mujoco')


@pytest.fixture(scope='module')
def model() -> Any:
    return build_model()


def test_weighs_13_2_kg_and_has_twelve_drives_in_joint_order(model: Any) -> None:
    assert sum(model.body_mass) == pytest.approx(13.2)
    joints = [model.joint(index).name for index in range(1, model.njnt)]
    assert [model.actuator(index).name for index in range(model.nu)] == joints
    assert joints[:3] == ['FL_hip_joint', 'FL_thigh_joint', 'FL_calf_joint']
    assert len(joints) == 12


@pytest.mark.parametrize(('joint', 'stiffness', 'damping', 'effort', 'armature'), [
    ('FL_hip_joint', 25.0, 1.0, 24.0, 0.006),
    ('RR_thigh_joint', 25.0, 1.0, 24.0, 0.006),
    ('RL_calf_joint', 35.0, 1.5, 36.0, 0.010)])
def test_drives_are_those_of_training(
        model: Any, joint: str, stiffness: float, damping: float, effort: float,
        armature: float) -> None:
    drive = model.actuator(joint)
    assert drive.gainprm[0] == stiffness
    assert list(drive.biasprm[:3]) == [0.0, -stiffness, -damping]
    assert list(drive.forcerange) == [-effort, effort]
    assert drive.forcelimited[0] == 1
    assert drive.ctrllimited[0] == 0
    assert model.dof_armature[model.joint(joint).dofadr[0]] == armature


def test_only_feet_slide_with_friction(model: Any) -> None:
    foot, trunk = model.geom('FL_foot_collision'), model.geom('trunk_collision')
    assert (foot.condim[0], trunk.condim[0]) == (3, 1)
    assert (foot.priority[0], trunk.priority[0]) == (1, 0)
    assert list(foot.friction) == [1.0, 5e-3, 5e-4]
    assert list(foot.solref) == [0.01, 1.0]


def test_solver_is_that_of_training(model: Any) -> None:
    assert (model.opt.timestep, model.opt.iterations, model.opt.ls_iterations) == (0.005, 10, 20)


def test_default_pose_is_outwards_on_both_sides() -> None:
    pose = find_start_pose('stand')
    assert [pose.joint_position(name) for name in (
        'FL_hip_joint', 'FR_hip_joint', 'RL_thigh_joint', 'RR_calf_joint')] == [
        0.05, -0.05, 0.75, -1.5]


def test_start_poses_lie_within_the_joint_limits(model: Any) -> None:
    for pose in START_POSES.values():
        for index in range(1, model.njnt):
            joint = model.joint(index)
            assert joint.range[0] < pose.joint_position(joint.name) < joint.range[1]


@pytest.mark.parametrize('timestep', [0.0, -0.001, 0.006, float('nan')])
def test_refuses_a_timestep_longer_than_that_of_training(timestep: float) -> None:
    with pytest.raises(ConfigError, match=r'at most 0\.005 s'):
        build_model(timestep)


def test_refuses_an_unknown_pose_and_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"'stant'.*did you mean 'stand'"):
        find_start_pose('stant')
