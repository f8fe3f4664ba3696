"""
Training's rules around the network, written down a second time in plain float32.

It makes the golden chain, so it shares no code with the robot's side: what both agree on is
not the mistake of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import Modifier, ObservationTerm, PolicyContract

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """
    One moment of the robot, in the contract's joint order.

    Joint arrays (joints,) in rad, rad/s and N m; base orientation in the world; base velocities
    in the base frame [rad/s], [m/s]; command (vx, vy, wz).
    """

    joint_position: F64
    joint_velocity: F64
    joint_effort: F64
    quaternion_xyzw: F64
    angular_velocity: F64
    linear_velocity: F64
    command: F64


class ReferenceChain:
    """Observation and action managers of Isaac Lab for one robot, straight from their rules."""

    def __init__(self, contract: PolicyContract) -> None:
        """
        Start as after a reset.

        :param contract: the facts of training.
        """
        self._contract = contract
        self._joint_index = {name: i for i, name in enumerate(contract.joints.names)}
        self.reset()

    def reset(self) -> None:
        """Forget the history and the last action."""
        self._last_action = np.zeros(self._contract.action_width, np.float32)
        self._history: dict[str, list[F32]] = {}

    def observe(self, sample: Sample) -> F32:
        """
        Return the observation of one policy step, shape (observation width,).

        :param sample: the robot at this step.
        """
        return np.concatenate([self._remember(term, self._frame(term, sample))
                               for term in self._contract.observation.terms])

    def act(self, raw: F32) -> F32:
        """
        Return the joint targets [rad] for the network's answer, and remember it.

        :param raw: raw action, shape (action width,).
        """
        actions = self._contract.actions
        if actions.raw_clip is not None:
            raw = np.clip(raw, np.float32(actions.raw_clip[0]), np.float32(actions.raw_clip[1]))
        self._last_action = raw.astype(np.float32)
        targets, start = [], 0
        for term in actions.terms:
            part = self._last_action[start:start + len(term.joints)]
            target = part * np.array(term.scale, np.float32) + np.array(term.offset, np.float32)
            if term.clip is not None:
                limits = np.array(term.clip, np.float32)
                target = np.minimum(np.maximum(target, limits[:, 0]), limits[:, 1])
            targets.append(target)
            start += len(term.joints)
        return np.concatenate(targets)

    def _remember(self, term: ObservationTerm, frame: F32) -> F32:
        length = max(1, term.history_length)
        frames = self._history.get(term.name, [frame] * length)  # the first fills all slots
        frames = [*frames[1:], frame]
        self._history[term.name] = frames
        return np.concatenate(frames)  # oldest first

    def _frame(self, term: ObservationTerm, sample: Sample) -> F32:
        value = self._function(term, sample)
        for modifier in term.modifiers:
            value = _modified(value, modifier)
        if term.clip is not None:
            value = np.clip(value, np.float32(term.clip[0]), np.float32(term.clip[1]))
        if term.scale is not None:
            value = value * np.array(term.scale, np.float32)
        return value

    def _function(self, term: ObservationTerm, sample: Sample) -> F32:
        joints = self._contract.joints
        if term.function == 'last_action':
            return self._last_action_of(term.action_term)
        if term.function in ('joint_pos', 'joint_pos_rel'):
            rest = joints.default_position if term.function == 'joint_pos_rel' else None
            return self._joint_values(term, sample.joint_position, rest)
        if term.function in ('joint_vel', 'joint_vel_rel'):
            rest = joints.default_velocity if term.function == 'joint_vel_rel' else None
            return self._joint_values(term, sample.joint_velocity, rest)
        if term.function == 'joint_effort':
            return self._joint_values(term, sample.joint_effort, None)
        if term.function == 'projected_gravity':
            return gravity_in_base(sample.quaternion_xyzw)
        vector = {'base_ang_vel': sample.angular_velocity, 'base_lin_vel': sample.linear_velocity,
                  'generated_commands': sample.command}[term.function]
        return vector.astype(np.float32)

    def _joint_values(self, term: ObservationTerm, values: F64,
                      rest: Sequence[float] | None) -> F32:
        value = values.astype(np.float32)
        if rest is not None:
            value = value - np.array(rest, np.float32)
        return value[[self._joint_index[name] for name in term.joints or ()]]

    def _last_action_of(self, action_term: str | None) -> F32:
        start = 0
        for term in self._contract.actions.terms:
            if term.name == action_term:
                return self._last_action[start:start + len(term.joints)]
            start += len(term.joints)
        return self._last_action


def _modified(value: F32, modifier: Modifier) -> F32:
    if isinstance(modifier.value, tuple):
        return np.clip(value, np.float32(modifier.value[0]), np.float32(modifier.value[1]))
    amount = np.float32(modifier.value)
    return value * amount if modifier.kind == 'scale' else value + amount


def gravity_in_base(quaternion_xyzw: F64) -> F32:
    """
    Return the direction of gravity in the base frame, a unit vector, shape (3,).

    :param quaternion_xyzw: orientation of the base in the world.
    """
    q = quaternion_xyzw.astype(np.float32)
    axis, w, down = q[:3], q[3], np.array([0.0, 0.0, -1.0], np.float32)
    twice = np.cross(axis, down) * np.float32(2.0)
    return np.asarray(down - w * twice + np.cross(axis, twice), np.float32)
