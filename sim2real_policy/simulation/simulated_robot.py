"""The simulated robot without ROS: joint targets in, sensor readings out."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sim2real_policy.errors import closest, JointError, MessageError
from sim2real_policy.simulation.fall_detector import FallDetector, Posture
from sim2real_policy.simulation.reading import Reading
from sim2real_policy.simulation.robot_model import (
    build_model,
    find_start_pose,
    FLOOR,
    FOOT_COLLISIONS,
    LEGS,
    load_mujoco,
    MAX_TIMESTEP,
    TRUNK_COLLISION,
)

FREE_POSITION = 7
FREE_VELOCITY = 6
SETTLE_TIME = 2.0
HOLD_STIFFNESS = 4.0
LARGEST_TARGET = 100.0


class SimulatedRobot:
    """
    Twelve joints with position drives, an IMU, four feet, and a floor.

    Until the first joint targets come, and after every reset, the robot holds its start pose as
    a robot's own stand mode does: four times as stiff. The drives alone are so soft that the
    robot, held in its default pose, sags until the trunk is tilted by 16 degrees.

    ``base_position`` [m] of the trunk in the world, ``base_orientation`` (x, y, z, w),
    ``base_linear_velocity`` [m/s] and ``base_angular_velocity`` [rad/s] in the trunk's own
    frame are the truth, updated by :meth:`step`, as are ``foot_contact`` (one bool per leg of
    ``LEGS``), ``trunk_on_floor`` and ``tilt`` [deg].
    """

    def __init__(self, start_pose: str = 'stand', timestep: float = MAX_TIMESTEP) -> None:
        """
        Build the robot and let it settle in its start pose.

        :param start_pose: ``stand``, or ``lie``: legs folded, trunk on the floor.
        :param timestep: of the physics [s].
        :raises ConfigError: if the pose is unknown or the timestep out of range.
        :raises MissingDependencyError: if MuJoCo is not installed.
        """
        pose = find_start_pose(start_pose)
        self._mujoco = load_mujoco()
        self._model: Any = build_model(timestep)
        self._data: Any = self._mujoco.MjData(self._model)
        self.timestep = timestep
        self.joint_names = tuple(self._model.actuator(index).name
                                 for index in range(self._model.nu))
        self.joint_count = len(self.joint_names)
        self.start_position: NDArray[np.float64] = np.array(
            [pose.joint_position(name) for name in self.joint_names])
        self._find_geoms()
        self._allocate()
        self._start_state = self._settle(pose.height)
        self._start_posture = Posture.LYING if start_pose == 'lie' else Posture.STANDING
        self.falls = FallDetector(self._start_posture)
        self.reset()

    def reset(self) -> None:
        """Put the robot back into its start pose, at rest; the drives hold that pose."""
        self._mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = self._start_state
        self._holding = True
        self._mujoco.mj_forward(self._model, self._data)
        self._observe()
        self.falls.put_back(self._start_posture)

    def set_joint_targets(self, positions: ArrayLike, names: Sequence[str] | None = None) -> None:
        """
        Set the drives' targets: all of them or, when refused, none.

        :param positions: targets [rad], shape (joints,).
        :param names: the joint of each of them; the robot's own order if left out.
        :raises JointError: if names are unknown, missing or repeated, or the length is wrong.
        :raises MessageError: if a target is not finite, or no joint angle at all.
        """
        values = np.array(positions, dtype=np.float64).ravel()
        names = self.joint_names if names is None else names
        if len(values) != len(names):
            raise JointError(f'{len(values)} joint targets for {len(names)} joints; send one per '
                             'joint')
        self._check_names(names)
        wrong = ~(np.abs(values) <= LARGEST_TARGET)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise MessageError(f"the target of '{names[first]}' is {values[first]}; send finite "
                               f'positions within {LARGEST_TARGET:.0f} rad')
        self._data.ctrl[[self.joint_names.index(name) for name in names]] = values
        self._holding = False

    def step(self, count: int = 1) -> bool:
        """
        Let time pass.

        :param count: how many timesteps.
        :returns: True if the robot fell during them.
        """
        if self._holding:
            self._hold(count)
        else:
            self._mujoco.mj_step(self._model, self._data, count)
        self._observe()
        return self.falls.update(self.tilt, self.trunk_on_floor, count * self.timestep)

    def read(self, reading: Reading) -> None:
        """
        Read the sensors, without any noise; the stamp is left alone.

        :param reading: receives the values.
        """
        reading.joint_position[:] = self._joint_position
        reading.joint_velocity[:] = self._joint_velocity
        reading.joint_effort[:] = self._joint_effort
        reading.orientation[:] = self.base_orientation
        reading.angular_velocity[:] = self.base_angular_velocity
        reading.linear_acceleration[:] = self._acceleration

    def push(self, linear_velocity: Sequence[float]) -> None:
        """
        Kick the trunk: add to its velocity at once.

        :param linear_velocity: in the world [m/s], shape (3,).
        """
        self._data.qvel[:3] += linear_velocity

    def _find_geoms(self) -> None:
        geom = self._model.geom
        self._floor = int(geom(FLOOR).id)
        self._trunk = int(geom(TRUNK_COLLISION).id)
        self._feet = {int(geom(name).id): leg for leg, name in enumerate(FOOT_COLLISIONS)}

    def _allocate(self) -> None:
        """Allocate the results, and views on MuJoCo's own arrays: these never move."""
        data = self._data
        self._joint_position = data.qpos[FREE_POSITION:]
        self._joint_velocity = data.qvel[FREE_VELOCITY:]
        self._joint_effort = data.actuator_force
        self._acceleration = data.sensor('imu_lin_acc').data
        self._wxyz = data.qpos[3:FREE_POSITION]
        self._world_to_base = np.zeros(4)
        self.base_position = data.qpos[:3]
        self.base_orientation = np.zeros(4)
        self.base_linear_velocity = np.zeros(3)
        self.base_angular_velocity = data.qvel[3:FREE_VELOCITY]
        self.foot_contact = [False] * len(LEGS)
        self.trunk_on_floor = False
        self.tilt = 0.0

    def _settle(self, height: float) -> NDArray[np.float64]:
        """Put the robot down from a height; return the state in which it comes to rest."""
        data = self._data
        data.qpos[2] = height
        data.qpos[FREE_POSITION:] = self.start_position
        self._hold(round(SETTLE_TIME / self.timestep))
        state: NDArray[np.float64] = data.qpos.copy()
        state[:2] = 0.0
        return state

    def _hold(self, count: int) -> None:
        """Step with targets beyond the start pose, so that the drives act stiffer."""
        start, position, targets = self.start_position, self._joint_position, self._data.ctrl
        for _ in range(count):
            np.subtract(start, position, out=targets)
            targets *= HOLD_STIFFNESS
            targets += position
            self._mujoco.mj_step(self._model, self._data)

    def _observe(self) -> None:
        mujoco, data = self._mujoco, self._data
        wxyz = self._wxyz
        self.base_orientation[:3] = wxyz[1:]
        self.base_orientation[3] = wxyz[0]
        mujoco.mju_negQuat(self._world_to_base, wxyz)
        mujoco.mju_rotVecQuat(self.base_linear_velocity, data.qvel[:3], self._world_to_base)
        _, x, y, _ = wxyz.tolist()
        upright = 1.0 - 2.0 * (x * x + y * y)
        self.tilt = math.degrees(math.acos(max(-1.0, min(1.0, upright))))
        self._observe_contacts()

    def _observe_contacts(self) -> None:
        self.trunk_on_floor = False
        self.foot_contact[:] = [False] * len(LEGS)
        for first, second in self._data.contact.geom.tolist():
            if self._floor not in (first, second):
                continue
            touching = second if first == self._floor else first
            if touching in self._feet:
                self.foot_contact[self._feet[touching]] = True
            elif touching == self._trunk:
                self.trunk_on_floor = True

    def _check_names(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.joint_names:
                raise JointError(f"the robot has no joint '{name}'"
                                 f'{closest(name, self.joint_names)}; it has '
                                 f'{list(self.joint_names)}')
        missing = [name for name in self.joint_names if name not in names]
        if missing:
            raise JointError(f'no target for {missing}; send one for every joint at once')
        if len(names) != len(self.joint_names):
            raise JointError('a joint is named twice; name each of the '
                             f'{len(self.joint_names)} joints once')
