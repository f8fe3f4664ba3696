"""
Build the simulated robot's physics model.

``pup/pup.xml`` holds the robot alone. What training added around it (floor, joint drives,
contact parameters, solver settings) is added here with the values of the training run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sim2real_policy.errors import closest, ConfigError, MissingDependencyError

PUP_XML = Path(__file__).parent / 'pup' / 'pup.xml'
MAX_TIMESTEP = 0.005

LEGS = ('FL', 'FR', 'RL', 'RR')
FLOOR = 'floor'
TRUNK_COLLISION = 'trunk_collision'
FOOT_COLLISIONS = tuple(f'{leg}_foot_collision' for leg in LEGS)


@dataclass(frozen=True)
class JointDrive:
    """A position drive: stiffness [N m/rad], damping [N m s/rad], effort [N m], inertia."""

    stiffness: float
    damping: float
    effort_limit: float
    armature: float


@dataclass(frozen=True)
class StartPose:
    """
    Where the robot starts.

    ``height`` of the trunk above the floor [m] and joint positions [rad]; the abduction
    ``hip`` is outwards, so it is positive on the left and negative on the right.
    """

    height: float
    hip: float
    thigh: float
    calf: float

    def joint_position(self, joint: str) -> float:
        """
        Return the position of one joint [rad].

        :param joint: such as ``FL_hip_joint``.
        """
        leg, kind, _ = joint.split('_')
        outwards = 1.0 if leg.endswith('L') else -1.0
        return {'hip': outwards * self.hip, 'thigh': self.thigh, 'calf': self.calf}[kind]


DRIVES = {
    'hip': JointDrive(stiffness=25.0, damping=1.0, effort_limit=24.0, armature=0.006),
    'thigh': JointDrive(stiffness=25.0, damping=1.0, effort_limit=24.0, armature=0.006),
    'calf': JointDrive(stiffness=35.0, damping=1.5, effort_limit=36.0, armature=0.010),
}

START_POSES = {
    'stand': StartPose(height=0.316, hip=0.05, thigh=0.75, calf=-1.5),
    'lie': StartPose(height=0.08, hip=0.75, thigh=1.4, calf=-2.65),
}


def load_mujoco() -> ModuleType:
    """
    Import MuJoCo.

    :raises MissingDependencyError: if it is not installed.
    """
    try:
        import mujoco
    except ImportError as error:
        raise MissingDependencyError(
            'mujoco', 'for the simulated robot', "pip install 'mujoco>=3.2.4'") from error
    return mujoco  # type: ignore[no-any-return, unused-ignore]


def find_start_pose(name: str) -> StartPose:
    """
    Return a start pose.

    :param name: ``stand`` or ``lie``.
    :raises ConfigError: if there is no such pose.
    """
    if name not in START_POSES:
        raise ConfigError(f"start_pose is '{name}', but must be one of {list(START_POSES)}"
                          f'{closest(name, START_POSES)}')
    return START_POSES[name]


def build_model(timestep: float = MAX_TIMESTEP) -> Any:
    """
    Build the robot on a flat floor, as it was trained.

    :param timestep: of the physics [s]; at most the 0.005 s of training.
    :returns: a compiled ``mujoco.MjModel`` whose actuators stand in the joints' order.
    :raises ConfigError: if the timestep is out of range.
    :raises MissingDependencyError: if MuJoCo is not installed.
    """
    if not 0.0 < timestep <= MAX_TIMESTEP:
        raise ConfigError(f'the physics timestep is {timestep} s, but must be above 0 and at most '
                          f'{MAX_TIMESTEP} s, the timestep of training')
    mujoco = load_mujoco()
    spec = mujoco.MjSpec.from_file(str(PUP_XML))
    _set_solver(mujoco, spec, timestep)
    _add_floor(mujoco, spec)
    _set_contacts(spec)
    for joint in spec.joints:
        if joint.type == mujoco.mjtJoint.mjJNT_HINGE:
            _add_drive(mujoco, spec, joint)
    return spec.compile()


def _set_solver(mujoco: ModuleType, spec: Any, timestep: float) -> None:
    option = spec.option
    option.timestep = timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.impratio = 1.0
    option.iterations = 10
    option.tolerance = 1e-8
    option.ls_iterations = 20
    option.ls_tolerance = 0.01


def _add_floor(mujoco: ModuleType, spec: Any) -> None:
    floor = spec.worldbody.add_geom()
    floor.name = FLOOR
    floor.type = mujoco.mjtGeom.mjGEOM_PLANE
    floor.size = [0.0, 0.0, 0.01]


def _set_contacts(spec: Any) -> None:
    for geom in spec.geoms:
        if not geom.name.endswith('_collision'):
            continue
        geom.contype = geom.conaffinity = 1
        geom.solref[0], geom.solref[1] = 0.01, 1.0
        is_foot = geom.name in FOOT_COLLISIONS
        geom.condim = 3 if is_foot else 1
        geom.priority = 1 if is_foot else 0
        if is_foot:
            geom.friction = [1.0, 5e-3, 5e-4]


def _add_drive(mujoco: ModuleType, spec: Any, joint: Any) -> None:
    """Add what the position actuator of training is: force = kp (target - q) - kd q'."""
    drive = DRIVES[joint.name.split('_')[1]]
    joint.armature = drive.armature
    actuator = spec.add_actuator()
    actuator.name = joint.name
    actuator.target = joint.name
    actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
    actuator.gaintype = mujoco.mjtGain.mjGAIN_FIXED
    actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    actuator.gainprm[0] = drive.stiffness
    actuator.biasprm[1] = -drive.stiffness
    actuator.biasprm[2] = -drive.damping
    actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_FALSE
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = [-drive.effort_limit, drive.effort_limit]
