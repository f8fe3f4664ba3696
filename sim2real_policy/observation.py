"""
The observation, built as in training.

Per term: function, modifiers, clip, scale, history; then the terms one after another, in the
order of the contract (Isaac Lab's ObservationManager).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import Modifier, ObservationTerm, PolicyContract, UNLIMITED
from sim2real_policy.joints import joint_indices
from sim2real_policy.state import RobotState

Array = NDArray[np.float32]
_RING_SPAN = 64  # frames between two moves of the history to the ring's start


class _Term:
    """One term with everything resolved: where it reads, where it writes."""

    __slots__ = ('action_slice', 'default_position', 'default_velocity', 'indices',
                 'modifiers', 'out', 'write')

    def __init__(self, term: ObservationTerm, contract: PolicyContract, out: Array) -> None:
        joints = contract.joints
        indices = joint_indices(joints.names, term.joints or (), f"term '{term.name}'")
        self.indices: slice | NDArray[np.intp] = indices
        if np.array_equal(indices, np.arange(len(joints.names))):
            self.indices = slice(None)  # all joints in order: a view, not a gather
        self.default_position = np.array(joints.default_position)[self.indices]
        self.default_velocity = np.array(joints.default_velocity)[self.indices]
        self.action_slice = _action_slice(term, contract)
        self.modifiers = term.modifiers
        self.out = out
        self.write: _Function = _FUNCTIONS[term.function]


def base_ang_vel(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write the angular velocity of the base in the base frame [rad/s]."""
    term.out[:] = state.angular_velocity


def base_lin_vel(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write the linear velocity of the base in the base frame [m/s]."""
    term.out[:] = state.linear_velocity


def projected_gravity(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write the unit vector of gravity in the base frame."""
    term.out[:] = state.gravity


def joint_pos_rel(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write joint positions less the default pose [rad]."""
    np.subtract(state.joint_position[term.indices], term.default_position, out=term.out)


def joint_pos(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write joint positions [rad]."""
    term.out[:] = state.joint_position[term.indices]


def joint_vel_rel(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write joint velocities less the default ones [rad/s]."""
    np.subtract(state.joint_velocity[term.indices], term.default_velocity, out=term.out)


def joint_vel(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write joint velocities [rad/s]."""
    term.out[:] = state.joint_velocity[term.indices]


def joint_effort(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write joint efforts [N m]."""
    term.out[:] = state.joint_effort[term.indices]


def last_action(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write the raw action of the step before, clipped as in training, before scale."""
    term.out[:] = action[term.action_slice]


def generated_commands(term: _Term, state: RobotState, command: Array, action: Array) -> None:
    """Write the velocity command (vx [m/s], vy [m/s], wz [rad/s]) in the base frame."""
    term.out[:] = command


_Function = Callable[[_Term, RobotState, Array, Array], None]
_FUNCTIONS: dict[str, _Function] = {function.__name__: function for function in (
    base_ang_vel, base_lin_vel, projected_gravity, joint_pos_rel, joint_pos, joint_vel_rel,
    joint_vel, joint_effort, last_action, generated_commands)}


class ObservationBuilder:
    """Writes one observation after another into one float32 buffer."""

    def __init__(self, contract: PolicyContract, out: Array) -> None:
        """
        Resolve names and allocate everything.

        :param contract: what to build.
        :param out: the network's input, shape (1, observation width); written at each build.
        """
        terms = contract.observation.terms
        self.out = out
        self._flat_out = out.reshape(-1)
        self._history = _History(contract) \
            if any(term.history_length > 1 for term in terms) else None
        frame = self._flat_out if self._history is None else self._history.frame
        views = np.split(frame, np.cumsum([contract.frame_width(term) for term in terms])[:-1])
        self._terms = [_Term(term, contract, view)
                       for term, view in zip(terms, views, strict=True)]
        self._modified = [term for term in self._terms if term.modifiers]
        self._frame = frame
        self._clip = _clip_per_value(contract)
        self._scale = _scale_per_value(contract)

    def reset(self) -> None:
        """Forget the history; the next frame fills all of it."""
        if self._history is not None:
            self._history.reset()

    def build(self, state: RobotState, command: Array, action: Array) -> Array:
        """
        Write the next observation and return the buffer, shape (1, observation width).

        :param state: what was measured.
        :param command: velocity command (vx [m/s], vy [m/s], wz [rad/s]), shape (3,).
        :param action: last raw action after the raw clip, shape (action width,).
        """
        for term in self._terms:
            term.write(term, state, command, action)
        for term in self._modified:
            for modifier in term.modifiers:
                _modify(term.out, modifier)
        if self._clip is not None:
            np.maximum(self._frame, self._clip[0], out=self._frame)
            np.minimum(self._frame, self._clip[1], out=self._frame)
        if self._scale is not None:
            np.multiply(self._frame, self._scale, out=self._frame)
        if self._history is not None:
            self._history.push(self._flat_out)
        return self.out


class _History:
    """Frames in a long ring, gathered term by term, oldest first."""

    def __init__(self, contract: PolicyContract) -> None:
        terms = contract.observation.terms
        widths = [contract.frame_width(term) for term in terms]
        starts = np.cumsum([0, *widths[:-1]])
        self._depth = max(max(1, term.history_length) for term in terms)
        self._width = sum(widths)
        self.frame: Array = np.zeros(self._width, dtype=np.float32)
        self._frames: Array = np.zeros((self._depth + _RING_SPAN, self._width), dtype=np.float32)
        self._flat = self._frames.reshape(-1)
        self._gather = np.concatenate([
            age * self._width + np.arange(start, start + width)
            for term, start, width in zip(terms, starts, widths, strict=True)
            for age in range(self._depth - max(1, term.history_length), self._depth)])
        self.reset()

    def reset(self) -> None:
        self._newest = -1

    def push(self, out: Array) -> None:
        if self._newest < 0:
            self._newest = self._depth - 1
            self._frames[:self._depth] = self.frame
        else:
            self._newest += 1
            if self._newest == len(self._frames):
                self._newest = self._depth - 1
                self._frames[:self._depth - 1] = self._frames[1 - self._depth:]
            self._frames[self._newest] = self.frame
        first = (self._newest + 1 - self._depth) * self._width
        self._flat[first:first + self._depth * self._width].take(
            self._gather, out=out, mode='clip')  # any other mode would buffer the output


def observation_slices(contract: PolicyContract) -> dict[str, slice]:
    """
    Return where each term stands in the observation, history included.

    :param contract: its terms' names are the keys.
    """
    slices, start = {}, 0
    for term in contract.observation.terms:
        stop = start + contract.frame_width(term) * max(1, term.history_length)
        slices[term.name] = slice(start, stop)
        start = stop
    return slices


def _action_slice(term: ObservationTerm, contract: PolicyContract) -> slice:
    if term.action_term is None:
        return slice(None)
    start = 0
    for action in contract.actions.terms:
        stop = start + len(action.joints)
        if action.name == term.action_term:
            break
        start = stop
    return slice(start, stop)


def _modify(values: Array, modifier: Modifier) -> None:
    if isinstance(modifier.value, tuple):
        np.clip(values, *modifier.value, out=values)
    elif modifier.kind == 'scale':
        values *= np.float32(modifier.value)
    else:
        values += np.float32(modifier.value)


def _clip_per_value(contract: PolicyContract) -> tuple[Array, Array] | None:
    """Spread the terms' clips over the frame's values; None where no term has one."""
    terms = contract.observation.terms
    if all(term.clip is None for term in terms):
        return None
    widths = [contract.frame_width(term) for term in terms]
    bounds = np.repeat([term.clip or UNLIMITED for term in terms], widths, axis=0)
    return bounds[:, 0].astype(np.float32), bounds[:, 1].astype(np.float32)


def _scale_per_value(contract: PolicyContract) -> Array | None:
    """Spread the terms' scales over the frame's values; None where no term has one."""
    terms = contract.observation.terms
    if all(term.scale is None for term in terms):
        return None
    return np.concatenate([
        np.broadcast_to(1.0 if term.scale is None else term.scale, contract.frame_width(term))
        for term in terms]).astype(np.float32)
