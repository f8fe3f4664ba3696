"""Rule: one step goes from measurement to safe command; a new RAMP is a new life of the policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import itertools
import math
from pathlib import Path
from typing import Any

from hypothesis import given, HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.bundle import Bundle, Golden, load_bundle
from sim2real_policy.contract import parse_contract, PolicyContract
from sim2real_policy.errors import InferenceError
from sim2real_policy.faults import Fault
from sim2real_policy.inference import make_runner, RunnerFacts
from sim2real_policy.observation import observation_slices
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline, STAGES
from sim2real_policy.safety import Phase, SafeCommand
from sim2real_policy.state import NO_COMMAND, VelocityCommand

F32 = NDArray[np.float32]
PERIOD = 0.02
RAMP_DURATION = 1.0


class ScriptedRunner:
    """A network that answers what the test says, and counts."""

    name = 'scripted'
    facts = RunnerFacts()

    def __init__(self, contract: PolicyContract) -> None:
        self.input: F32 = np.zeros((1, contract.observation_width), dtype=np.float32)
        self.output: F32 = np.zeros((1, contract.action_width), dtype=np.float32)
        self.answer: list[float] = [0.0] * contract.action_width
        self.before_answer: Callable[[], object] = int
        self.runs = 0
        self.resets = 0

    def run(self) -> None:
        self.runs += 1
        self.before_answer()
        self.output[0] = self.answer

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        pass


class Robot:
    """A pipeline, and a robot at rest whose samples are always fresh."""

    def __init__(self, pipeline: PolicyPipeline) -> None:
        self.pipeline = pipeline
        self.now = 10.0
        self.pose = [0.25, 0.5, -0.25]  # hip, knee, ankle
        pipeline.activate()

    def step(self, command: VelocityCommand = NO_COMMAND, after: float = PERIOD,
             gravity_z: float = -1.0) -> SafeCommand | None:
        self.now += after
        state = self.pipeline.state
        state.joint_position[:] = self.pose
        state.gravity[:] = 0.0, 0.0, gravity_z
        state.joints.accept(self.now, 0)
        state.imu.accept(self.now, 0)
        return self.pipeline.step(command, self.now)

    def run(self) -> Robot:
        """Go on until the end of RAMP."""
        self.step()
        self.step(after=RAMP_DURATION)
        assert self.phase() is Phase.RUN
        return self

    def phase(self) -> Phase:
        return self.pipeline.safety.phase


@pytest.fixture
def runner(contract: PolicyContract) -> ScriptedRunner:
    return ScriptedRunner(contract)


@pytest.fixture
def robot(contract: PolicyContract, runner: ScriptedRunner,
          settings: PipelineSettings) -> Robot:
    return Robot(PolicyPipeline(contract, runner, settings))


@pytest.fixture
def identity(bundle: Bundle, settings: PipelineSettings) -> Robot:
    """Give a robot whose real network asks for the pose that it measured."""
    return Robot(PolicyPipeline(bundle.contract, make_runner('onnxruntime', bundle), settings))


def sent(command: SafeCommand | None) -> list[float]:
    assert command is not None
    return [float(value) for value in command.position]


def seen(robot: Robot, runner: ScriptedRunner, term: str) -> list[float]:
    """Give what the network saw of one term."""
    contract = robot.pipeline._contract
    return [float(value) for value in runner.input[0][observation_slices(contract)[term]]]


def test_identity_network_sends_each_joint_where_it_is_in_the_order_of_the_actions(
        identity: Robot) -> None:
    """The joints arrive as hip, knee, ankle and leave as ankle, knee, hip."""
    assert sent(identity.step()) == [-0.25, 0.5, 0.25]
    assert identity.phase() is Phase.RAMP
    identity.step(after=RAMP_DURATION)
    identity.pose = [0.3125, 0.4375, -0.375]
    assert sent(identity.step()) == [-0.375, 0.4375, 0.3125]
    assert identity.phase() is Phase.RUN


def test_nothing_is_computed_or_sent_while_inputs_are_missing(
        robot: Robot, runner: ScriptedRunner) -> None:
    assert robot.pipeline.step(NO_COMMAND, 10.0) is None
    assert str(robot.pipeline.safety.reason).startswith('F101 no joint_states received yet')
    assert robot.step(gravity_z=0.0) is None
    assert runner.runs == 0
    assert robot.phase() is Phase.WAITING


def test_activation_forgets_all_measurements(robot: Robot) -> None:
    robot.run()
    robot.pipeline.activate()
    assert robot.pipeline.step(NO_COMMAND, robot.now) is None
    assert robot.phase() is Phase.WAITING


def test_in_fault_the_pose_is_held_and_the_network_rests(
        robot: Robot, runner: ScriptedRunner) -> None:
    robot.run()
    runs = runner.runs
    command = robot.step(gravity_z=0.0)
    assert sent(command) == pytest.approx([-0.25, 0.5, 0.25], abs=0.75)
    assert command is not None
    assert command.phase is Phase.FAULT
    for _ in range(10):
        last = sent(robot.step())
    assert last == [-0.25, 0.5, 0.25]
    assert runner.runs == runs


def test_fault_while_the_network_computes_holds_the_pose(
        robot: Robot, runner: ScriptedRunner) -> None:
    robot.run()
    runner.before_answer = lambda: robot.pipeline.safety.trip(
        Fault('F208', 'the control thread does not finish'), robot.pipeline.state)
    runner.answer = [9.0, 9.0, 9.0]
    command = robot.step()
    assert command is not None
    assert command.phase is Phase.FAULT
    for _ in range(10):
        last = sent(robot.step())
    assert last == [-0.25, 0.5, 0.25]


def test_raw_action_becomes_target_with_scale_and_offset(
        contract_data: dict[str, Any], settings: PipelineSettings) -> None:
    contract_data['actions']['terms'][0]['scale'] = [0.5, 0.5, 0.5]
    contract = parse_contract(contract_data, 'it')
    runner = ScriptedRunner(contract)
    runner.answer = [0.75, 0.625, 0.375]
    robot = Robot(PolicyPipeline(contract, runner, settings)).run()
    for _ in range(10):
        last = sent(robot.step())
    assert last == [-0.125, 0.5625, 0.3125]  # offset ankle -0.5, knee 0.25, hip 0.125


def test_last_action_is_what_the_network_said_the_step_before(
        robot: Robot, runner: ScriptedRunner) -> None:
    said = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    runner.answer = said[0]
    robot.step()
    assert seen(robot, runner, 'last') == [0.0, 0.0, 0.0]
    runner.answer = said[1]
    robot.step()
    assert seen(robot, runner, 'last') == said[0]
    robot.step()
    assert seen(robot, runner, 'last') == said[1]


def test_new_ramp_is_a_new_life_of_the_policy(
        contract_data: dict[str, Any], settings: PipelineSettings) -> None:
    contract_data['observation']['terms'][2]['history_length'] = 2
    contract = parse_contract(contract_data, 'it')
    runner = ScriptedRunner(contract)
    runner.answer = [1.0, 2.0, 3.0]
    robot = Robot(PolicyPipeline(contract, runner, settings)).run()
    assert runner.resets == 1
    robot.step(gravity_z=0.0)
    assert robot.phase() is Phase.FAULT
    robot.pose = [0.125, 0.25, -0.75]
    robot.step()
    assert robot.pipeline.safety.reset_fault(robot.pipeline.state, robot.now) is None
    robot.step()
    assert robot.phase() is Phase.RAMP
    assert runner.resets == 2
    assert seen(robot, runner, 'last') == [0.0, 0.0, 0.0]
    assert seen(robot, runner, 'q') == [-0.25, 0.0, 0.0, -0.25, 0.0, 0.0]
    robot.step()
    assert runner.resets == 2


def test_command_is_zero_in_ramp_and_followed_in_run(
        robot: Robot, runner: ScriptedRunner) -> None:
    def ask() -> VelocityCommand:
        return VelocityCommand(1.5, -0.25, 0.5, received_at=robot.now)

    robot.step(ask())
    robot.step(ask())
    assert robot.phase() is Phase.RAMP
    assert seen(robot, runner, 'command') == [0.0, 0.0, 0.0]
    robot.step(after=RAMP_DURATION)
    robot.step(ask())
    assert seen(robot, runner, 'command') == [1.5, -0.25, 0.5]
    robot.step(VelocityCommand(1.5, -0.25, 0.5, received_at=robot.now - 0.6))
    assert seen(robot, runner, 'command') == [0.0, 0.0, 0.0]


def test_marks_tell_when_each_stage_ended(
        contract: PolicyContract, runner: ScriptedRunner, settings: PipelineSettings) -> None:
    ticks = itertools.count(100)
    robot = Robot(PolicyPipeline(contract, runner, settings, clock_ns=lambda: next(ticks)))
    robot.step(gravity_z=0.0)
    assert robot.pipeline.marks == [100, 100, 100, 100]  # the policy did not act
    robot.step()
    assert robot.pipeline.marks == [101, 102, 103, 104]
    assert len(robot.pipeline.marks) == len(STAGES) + 1
    robot.step(gravity_z=0.0)
    assert robot.pipeline.marks == [105, 105, 105, 105]


def test_output_that_is_no_number_is_bridged_once_then_a_fault_that_names_the_joints(
        robot: Robot, runner: ScriptedRunner) -> None:
    robot.run()
    runner.answer = [0.25, 0.25, 0.25]
    last = sent(robot.step())
    runner.answer = [0.0, math.nan, math.inf]
    assert sent(robot.step()) == last
    assert robot.phase() is Phase.RUN
    command = robot.step()
    assert command is not None
    assert command.phase is Phase.FAULT
    assert str(robot.pipeline.safety.reason).startswith(
        "F209 policy output is not finite (for ['knee', 'hip']) 2 times in a row")


def test_output_that_is_no_number_is_not_remembered_as_last_action(
        robot: Robot, runner: ScriptedRunner) -> None:
    robot.run()
    runner.answer = [1.0, 2.0, 3.0]
    robot.step()
    runner.answer = [math.nan, math.nan, math.nan]
    robot.step()
    runner.answer = [0.0, 0.0, 0.0]
    robot.step()
    assert seen(robot, runner, 'last') == [1.0, 2.0, 3.0]
    assert robot.phase() is Phase.RUN


def test_fault_names_the_observation_terms_that_are_no_numbers(identity: Robot) -> None:
    identity.run()
    identity.pipeline.state.angular_velocity[1] = math.nan
    for _ in range(2):
        command = identity.step()
    assert command is not None
    assert np.isfinite(command.position).all()
    assert ("for ['ankle', 'knee', 'hip']; observation terms not finite: ['gyro']"
            in str(identity.pipeline.safety.reason))


@pytest.mark.filterwarnings('ignore:overflow')
def test_huge_output_is_limited_not_refused(robot: Robot, runner: ScriptedRunner) -> None:
    robot.run()
    runner.answer = [3e38, -3e38, 3e38]
    for _ in range(20):
        last = sent(robot.step())
    assert last == [1.0, -1.0, 1.0]
    assert robot.phase() is Phase.RUN


@pytest.mark.filterwarnings('ignore:overflow')
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), max_size=8))
def test_whatever_the_network_says_what_is_sent_is_finite_inside_and_one_step_on(
        contract: PolicyContract, settings: PipelineSettings,
        answers: list[list[float]]) -> None:
    runner = ScriptedRunner(contract)
    robot = Robot(PolicyPipeline(contract, runner, settings)).run()
    last = sent(robot.step())
    for answer in answers:
        runner.answer = answer
        now = sent(robot.step())
        assert np.isfinite(now).all()
        assert np.abs(now).max() <= 1.0
        assert np.abs(np.array(now) - last).max() <= 0.125 + 1e-15
        last = now


def chain_of(bundle: Bundle, settings: PipelineSettings) -> PolicyPipeline:
    return PolicyPipeline(bundle.contract, make_runner('onnxruntime', bundle), settings)


def test_chain_of_a_right_bundle_agrees(bundle: Bundle, settings: PipelineSettings) -> None:
    assert chain_of(bundle, settings).check_chain(bundle.golden) < 1e-6


def test_chain_of_a_policy_with_memory_agrees(
        make_bundle: Callable[..., Path], contract_data: dict[str, Any],
        settings: PipelineSettings) -> None:
    terms = contract_data['observation']['terms']
    terms[2].update(history_length=3, clip=[-0.5, 0.5], scale=[1.0, 2.0, 3.0])
    terms += [{'name': 'v', 'function': 'base_lin_vel', 'scale': 2.0},
              {'name': 'torque', 'function': 'joint_effort', 'joints': ['knee', 'hip']}]
    contract_data['actions']['raw_clip'] = [-1.0, 1.0]
    weight = np.random.default_rng(5).normal(size=(29, 3)).astype(np.float32)
    bundle = load_bundle(make_bundle(weight))
    assert chain_of(bundle, settings).check_chain(bundle.golden) < 1e-5


@pytest.mark.parametrize(('array', 'place', 'text'), [
    ('chain_observation', (2, 10), "step 2: observation term 'dq' differs from training by 0.5"),
    ('chain_observation', (0, 0), "step 0: observation term 'gyro' differs from training by 0.5"),
    ('chain_raw_action', (1, 0), 'step 1: raw action differs from training by 0.5'),
    ('chain_target', (3, 2), 'step 3: joint target differs from training by 0.5')])
def test_chain_that_differs_is_refused_with_step_and_place(
        bundle: Bundle, settings: PipelineSettings, array: str, place: tuple[int, int],
        text: str) -> None:
    wrong = getattr(bundle.golden, array).copy()
    wrong[place] += 0.5
    golden = replace(bundle.golden, **{array: wrong})
    pipeline = chain_of(bundle, settings)
    with pytest.raises(InferenceError) as refusal:
        pipeline.check_chain(golden)
    assert str(refusal.value).startswith(f'golden chain, {text}')
    assert 'expected at most 0.0001' in str(refusal.value)
    assert pipeline.check_chain(golden, tolerance=0.51) == pytest.approx(0.5, abs=1e-6)


def test_chain_with_a_contract_of_another_robot_is_refused(
        bundle: Bundle, settings: PipelineSettings) -> None:
    joints = bundle.contract.joints.model_copy(update={'default_position': (0.125, 0.25, 0.5)})
    other = replace(bundle, contract=bundle.contract.model_copy(update={'joints': joints}))
    with pytest.raises(InferenceError, match=r"step 0: observation term 'q' .* by 1,"):
        chain_of(other, settings).check_chain(bundle.golden)


def test_chain_is_refused_where_the_network_answers_no_number(
        contract: PolicyContract, bundle: Bundle, runner: ScriptedRunner,
        settings: PipelineSettings) -> None:
    runner.answer = [math.nan] * 3
    with pytest.raises(InferenceError, match='step 0: raw action differs from training by nan'):
        PolicyPipeline(contract, runner, settings).check_chain(bundle.golden)


def test_chain_leaves_neither_memory_nor_measurements(
        contract: PolicyContract, bundle: Bundle, settings: PipelineSettings) -> None:
    runner = ScriptedRunner(contract)
    pipeline = PolicyPipeline(contract, runner, settings)
    golden: Golden = replace(bundle.golden, **{
        name: np.zeros_like(getattr(bundle.golden, name))
        for name in ('chain_observation', 'chain_raw_action', 'chain_target')})
    runner.answer = [0.5, 0.5, 0.5]
    pipeline.check_chain(golden, tolerance=100.0)
    assert pipeline.action.last.tolist() == [0.0, 0.0, 0.0]
    assert runner.resets == 2
    pipeline.activate()
    assert pipeline.step(NO_COMMAND, 10.0) is None
