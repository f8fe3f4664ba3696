"""One tick of the policy, from measurement to safe command: the same on robot, bag and bench."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.action import ActionProcessor
from sim2real_policy.bundle import Golden, GOLDEN_TOLERANCE
from sim2real_policy.command import VelocityFilter
from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import InferenceError
from sim2real_policy.inference import PolicyRunner
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import InputMonitor, MonitorSettings
from sim2real_policy.observation import observation_slices, ObservationBuilder
from sim2real_policy.rotations import gravity_in_base
from sim2real_policy.safety import Phase, SafeCommand, Safety
from sim2real_policy.state import RobotState, VelocityCommand

STAGES = ('observation', 'inference', 'safety')
_QUIET: Callable[[], int] = int  # a clock that stands still, for whoever times nothing


@dataclass(frozen=True)
class PipelineSettings:
    """What a person chooses for one robot; times in s, ``limits`` in rad."""

    monitor: MonitorSettings
    limits: JointLimits
    ramp_duration: float
    command_timeout: float


class PolicyPipeline:
    """
    Observation, inference, action and safety in one step.

    ``state`` is written by whoever decodes messages, between two steps. ``marks`` holds the
    clock's reading [ns] before the observation and after each of :data:`STAGES`; they are all
    equal on a tick where the policy did not act.
    """

    def __init__(self, contract: PolicyContract, runner: PolicyRunner,
                 settings: PipelineSettings, clock_ns: Callable[[], int] = _QUIET) -> None:
        """
        Allocate everything.

        :param contract: the policy.
        :param runner: runs its network; it stays the caller's to close.
        :param settings: choices for this robot.
        :param clock_ns: reads a steady clock [ns]; used for nothing but ``marks``.
        """
        self.state = RobotState(len(contract.joints.names))
        self.safety = Safety(InputMonitor(contract, settings.limits, settings.monitor),
                             settings.limits, settings.ramp_duration)
        self.velocity = VelocityFilter(contract.command, settings.command_timeout)
        self.observation = ObservationBuilder(contract, runner.input)
        self.action = ActionProcessor(contract)
        self.marks = [0] * (len(STAGES) + 1)
        self._contract = contract
        self._runner = runner
        self._raw = runner.output[0]
        self._clock_ns = clock_ns

    def activate(self) -> None:
        """Forget all measurements and wait for good new ones."""
        self.state.forget()
        self.safety.activate()

    def step(self, command: VelocityCommand, now: float) -> SafeCommand | None:
        """
        Do one tick.

        :param command: the newest velocity command.
        :param now: steady-clock time [s].
        :returns: what to send, or None: nothing, because nothing safe is known yet.
        """
        marks, clock_ns = self.marks, self._clock_ns
        marks[0] = marks[1] = marks[2] = marks[3] = clock_ns()
        new_life = self.safety.check(self.state, now)
        if not self.safety.policy_may_act:
            return self.safety.hold()
        if new_life:
            self._forget()
        running = self.safety.phase is Phase.RUN
        velocity = self.velocity.apply(command, now, listen=running)
        self.observation.build(self.state, velocity, self.action.last)
        marks[1] = clock_ns()
        self._runner.run()
        marks[2] = clock_ns()
        if _is_finite(self._raw):
            safe = self.safety.limit(self.action.process(self._raw), now)
        else:
            safe = self.safety.refuse_output(self._describe_output(), self.state)
        marks[3] = clock_ns()
        return safe

    def _forget(self) -> None:
        self.observation.reset()
        self.action.reset()
        self._runner.reset()

    def _describe_output(self) -> str:
        bad = np.flatnonzero(~np.isfinite(self._raw))
        joints = [self._contract.action_joints[index] for index in bad]
        seen = self.observation.out[0]
        inputs = [name for name, place in observation_slices(self._contract).items()
                  if not np.isfinite(seen[place]).all()]
        return f'for {joints}' + (f'; observation terms not finite: {inputs}' if inputs else '')

    def check_chain(self, golden: Golden, tolerance: float = GOLDEN_TOLERANCE) -> float:
        """
        Replay the bundle's chain, state by state, and compare all that follows from it.

        :param golden: the bundle's golden data.
        :param tolerance: largest difference of an observation, raw action or target [rad].
        :returns: the largest difference seen.
        :raises InferenceError: if observation, action or target differ from training's.
        """
        slices = observation_slices(self._contract)
        self._forget()
        worst = 0.0
        for step in range(len(golden.chain_command)):
            _show(golden, step, self.state)
            self.observation.build(self.state, golden.chain_command[step].astype(np.float32),
                                   self.action.last)
            self._runner.run()
            target = self.action.process(self._raw)
            worst = max(worst, self._compare(golden, step, target, slices, tolerance))
        self._forget()
        return worst

    def _compare(self, golden: Golden, step: int, target: NDArray[np.float32],
                 slices: dict[str, slice], tolerance: float) -> float:
        gap = np.abs(self.observation.out[0] - golden.chain_observation[step])
        pairs = [(f"observation term '{name}'", gap[place]) for name, place in slices.items()]
        pairs.append(('raw action', np.abs(self._raw - golden.chain_raw_action[step])))
        pairs.append(('joint target', np.abs(target - golden.chain_target[step])))
        for what, difference in pairs:
            if not difference.max() <= tolerance:
                raise InferenceError(
                    f'golden chain, step {step}: {what} differs from training by '
                    f'{difference.max():.3g}, expected at most {tolerance:g}. Bundle and package '
                    'do not fit together; export the bundle again with this version')
        return max(float(difference.max()) for _, difference in pairs)


def _show(golden: Golden, step: int, state: RobotState) -> None:
    state.joint_position[:] = golden.chain_joint_position[step]
    state.joint_velocity[:] = golden.chain_joint_velocity[step]
    state.joint_effort[:] = golden.chain_joint_effort[step]
    state.angular_velocity[:] = golden.chain_angular_velocity[step]
    state.linear_velocity[:] = golden.chain_linear_velocity[step]
    state.gravity[:] = gravity_in_base(*map(float, golden.chain_quaternion_xyzw[step]))


def _is_finite(values: NDArray[np.float32]) -> bool:
    """Tell whether all values are finite; the dot product settles it fast, unless it overflows."""
    return math.isfinite(values.dot(values)) or bool(np.isfinite(values).all())
