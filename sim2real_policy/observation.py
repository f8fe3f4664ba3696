"""
The observation, built as in training.

Per term: function, modifiers, clip, scale, history; then the terms one after another, in the
order of the contract (Isaac Lab's ObservationManager).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import (
    Modifier,
    ObservationTerm,
    PolicyContract,
    UNLIMITED,
    VELOCITY_COMMAND,
)
from sim2real_policy.joints import joint_indices
from sim2real_policy.state import RobotState, StateLayout

Array = NDArray[np.float32]
Indices = NDArray[np.intp]
_RING_SPAN = 64  # frames between two moves of the history to the ring's start


class Sources:
    """
    Where a term finds its values: the robot's state, then the command, then the last action.

    Every term of Isaac Lab that a robot can measure is some of these values less an offset;
    so a term is resolved once into places and offsets, and the tick is one gather.
    """

    def __init__(self, contract: PolicyContract) -> None:
        """
        Lay them out.

        :param contract: whose joints and actions there are.
        """
        joints = contract.joints
        self.state = StateLayout(len(joints.names))
        command_end = self.state.size + len(VELOCITY_COMMAND)
        self.command = slice(self.state.size, command_end)
        self.action = slice(command_end, command_end + contract.action_width)
        self.size = self.action.stop
        self.default_position = np.array(joints.default_position)
        self.default_velocity = np.array(joints.default_velocity)


class Term:
    """One term, with its joints and actions resolved into indices."""

    def __init__(self, term: ObservationTerm, contract: PolicyContract) -> None:
        """
        Resolve the names.

        :param term: one of the contract's.
        :param contract: what its names refer to.
        """
        self.joints = joint_indices(contract.joints.names, term.joints or (),
                                    f"term '{term.name}'")
        self.actions = np.arange(contract.action_width)[_action_slice(term, contract)]


_Resolved = tuple[Indices, NDArray[np.float64] | float]  # places in the sources, offset


def _places(where: slice) -> Indices:
    return np.arange(where.start, where.stop)


def base_ang_vel(term: Term, sources: Sources) -> _Resolved:
    """Angular velocity of the base in the base frame [rad/s]."""
    return _places(sources.state.angular_velocity), 0.0


def base_lin_vel(term: Term, sources: Sources) -> _Resolved:
    """Linear velocity of the base in the base frame [m/s]."""
    return _places(sources.state.linear_velocity), 0.0


def projected_gravity(term: Term, sources: Sources) -> _Resolved:
    """Gravity in the base frame, a unit vector."""
    return _places(sources.state.gravity), 0.0


def joint_pos_rel(term: Term, sources: Sources) -> _Resolved:
    """Joint positions less the default pose [rad]."""
    return joint_pos(term, sources)[0], sources.default_position[term.joints]


def joint_pos(term: Term, sources: Sources) -> _Resolved:
    """Joint positions [rad]."""
    return _places(sources.state.joint_position)[term.joints], 0.0


def joint_vel_rel(term: Term, sources: Sources) -> _Resolved:
    """Joint velocities less the default ones [rad/s]."""
    return joint_vel(term, sources)[0], sources.default_velocity[term.joints]


def joint_vel(term: Term, sources: Sources) -> _Resolved:
    """Joint velocities [rad/s]."""
    return _places(sources.state.joint_velocity)[term.joints], 0.0


def joint_effort(term: Term, sources: Sources) -> _Resolved:
    """Joint efforts [N m]."""
    return _places(sources.state.joint_effort)[term.joints], 0.0


def last_action(term: Term, sources: Sources) -> _Resolved:
    """Raw action of the step before, clipped as in training, before scale."""
    return _places(sources.action)[term.actions], 0.0


def generated_commands(term: Term, sources: Sources) -> _Resolved:
    """Velocity command (vx [m/s], vy [m/s], wz [rad/s]) in the base frame."""
    return _places(sources.command), 0.0


_FUNCTIONS: dict[str, Callable[[Term, Sources], _Resolved]] = {
    function.__name__: function for function in (
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
        sources = Sources(contract)
        resolved = [_FUNCTIONS[term.function](Term(term, contract), sources) for term in terms]
        self.out = out
        self._flat_out = out.reshape(-1)
        self._history = _History(contract) \
            if any(term.history_length > 1 for term in terms) else None
        self._frame = self._flat_out if self._history is None else self._history.frame
        self._sources = np.zeros(sources.size)
        self._state = self._sources[:sources.state.size]
        self._command = self._sources[sources.command]
        self._action = self._sources[sources.action]
        self._places = np.concatenate([places for places, _ in resolved])
        self._offset = np.concatenate([np.broadcast_to(offset, places.shape)
                                       for places, offset in resolved])
        self._gathered = np.zeros(len(self._places))
        views = np.split(self._frame, np.cumsum(_widths(contract))[:-1])
        self._modified = [(view, term.modifiers)
                          for view, term in zip(views, terms, strict=True) if term.modifiers]
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
        self._state[:] = state.values
        self._command[:] = command
        self._action[:] = action
        self._sources.take(self._places, out=self._gathered, mode='clip')
        np.subtract(self._gathered, self._offset, out=self._frame)
        for values, modifiers in self._modified:
            for modifier in modifiers:
                _modify(values, modifier)
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
        widths = _widths(contract)
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


def _widths(contract: PolicyContract) -> list[int]:
    return [contract.frame_width(term) for term in contract.observation.terms]


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
    widths = _widths(contract)
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
