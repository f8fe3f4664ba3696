"""Rule: the failsafe leaves FAULT by reset alone, and nothing unsafe ever leaves it."""

from __future__ import annotations

from collections.abc import Callable
import math

from hypothesis import given, HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.contract import PolicyContract
from sim2real_policy.faults import Fault
from sim2real_policy.limits import JointLimits
from sim2real_policy.monitors import InputMonitor, MonitorSettings
from sim2real_policy.safety import Phase, SafeCommand, Safety
from sim2real_policy.state import RobotState

F32 = NDArray[np.float32]
STOP = Fault('F401', 'emergency stop was requested')
RAMP_DURATION = 2.0
ULP = 1e-15


class Robot:
    """A failsafe with a state and a time, to be pushed through its phases."""

    def __init__(self, contract: PolicyContract, limits: JointLimits, settings: MonitorSettings,
                 state: RobotState) -> None:
        self.safety = Safety(InputMonitor(contract, limits, settings), limits, RAMP_DURATION)
        self.state = state
        self.now = 10.0

    def check(self, healthy: bool = True, after: float = 0.02) -> bool:
        """Let time pass, with new samples or with a base that has fallen over."""
        self.now += after
        self.state.joints.accept(self.now, 0)
        self.state.imu.accept(self.now, 0)
        self.state.gravity[2] = -1.0 if healthy else 0.0
        return self.safety.check(self.state, self.now)

    def go(self, phase: Phase) -> Robot:
        """Bring a new failsafe into a phase; commands are sent on the way, where there are any."""
        if phase is not Phase.INACTIVE:
            self.safety.activate()
        if phase in (Phase.RAMP, Phase.RUN, Phase.FAULT):
            self.check()
            self.limit(0.0)
        if phase is Phase.RUN:
            self.check(after=RAMP_DURATION)
        if phase is Phase.FAULT:
            self.check(healthy=False)
        assert self.phase() is phase
        return self

    def reset(self, upright: bool) -> Fault | None:
        """Ask to leave FAULT."""
        self.state.gravity[2] = -1.0 if upright else 0.0
        return self.safety.reset_fault(self.state, self.now)

    def phase(self) -> Phase:
        """Give the phase."""
        return self.safety.phase

    def limit(self, *target: float) -> SafeCommand | None:
        """Let the policy ask for targets."""
        return self.safety.limit(np.resize(target, 3).astype(np.float32), self.now)


@pytest.fixture
def robot(contract: PolicyContract, limits: JointLimits, monitor_settings: MonitorSettings,
          state: RobotState) -> Robot:
    """Give a robot at ankle -0.25, knee 0.5, hip 0.25 rad, that may step by 1/8 rad."""
    return Robot(contract, limits, monitor_settings, state)


@pytest.fixture
def quick_robot(contract: PolicyContract, monitor_settings: MonitorSettings,
                state: RobotState) -> Robot:
    """Give the same robot without a limit to its steps."""
    limits = JointLimits(np.full(3, -1.0), np.full(3, 1.0), np.full(3, 99.0), tolerance=0.0625)
    return Robot(contract, limits, monitor_settings, state)


MEASURED = [-0.25, 0.5, 0.25]  # ankle, knee, hip


def sent(command: SafeCommand | None) -> list[float]:
    """Give the targets of a command that must be there."""
    assert command is not None
    return [float(value) for value in command.position]


EVENTS: dict[str, Callable[[Robot], object]] = {
    'healthy': lambda robot: robot.check(),
    'fault': lambda robot: robot.check(healthy=False),
    'ramp end': lambda robot: robot.check(after=RAMP_DURATION),
    'trip': lambda robot: robot.safety.trip(STOP, robot.state),
    'reset, cause there': lambda robot: robot.reset(upright=False),
    'reset, cause gone': lambda robot: robot.reset(upright=True),
    'activate': lambda robot: robot.safety.activate(),
    'stop': lambda robot: robot.safety.stop(robot.state),
    'policy': lambda robot: robot.limit(0.5),
    'bad output': lambda robot: robot.safety.refuse_output('it', robot.state),
    'hold': lambda robot: robot.safety.hold()}

OFF, WAIT, RAMP, RUN, FAULT = Phase
TABLE = {
    # from:               OFF, WAIT, RAMP, RUN, FAULT
    'healthy':            [OFF, RAMP, RAMP, RUN, FAULT],
    'fault':              [OFF, WAIT, FAULT, FAULT, FAULT],
    'ramp end':           [OFF, RAMP, RUN, RUN, FAULT],
    'trip':               [OFF, FAULT, FAULT, FAULT, FAULT],
    'reset, cause there': [OFF, WAIT, RAMP, RUN, FAULT],
    'reset, cause gone':  [OFF, WAIT, RAMP, RUN, WAIT],
    'activate':           [WAIT, WAIT, WAIT, WAIT, WAIT],
    'stop':               [OFF, OFF, OFF, OFF, OFF],
    'policy':             [OFF, WAIT, RAMP, RUN, FAULT],
    'bad output':         [OFF, WAIT, RAMP, RUN, FAULT],
    'hold':               [OFF, WAIT, RAMP, RUN, FAULT]}


@pytest.mark.parametrize(('event', 'phase', 'after'), [
    pytest.param(event, phase, after, id=f'{phase.value}, {event}')
    for event, row in TABLE.items() for phase, after in zip(Phase, row, strict=True)])
def test_every_event_in_every_phase(robot: Robot, event: str, phase: Phase, after: Phase) -> None:
    robot.go(phase)
    EVENTS[event](robot)
    assert robot.phase() is after
    assert robot.safety.policy_may_act is (after in (RAMP, RUN))


def test_the_table_has_every_event() -> None:
    assert set(TABLE) == set(EVENTS)


@pytest.mark.parametrize('key', [None, object(), 'key', 0])
def test_nobody_else_can_make_a_safe_command(key: object) -> None:
    with pytest.raises(TypeError, match='makes a SafeCommand'):
        SafeCommand(key, np.zeros(3), RUN)


def test_nothing_is_sent_before_the_first_valid_inputs(robot: Robot) -> None:
    assert robot.safety.hold() is None
    assert robot.limit(0.5) is None
    robot.safety.activate()
    for _ in range(3):
        assert not robot.check(healthy=False)
        assert robot.safety.hold() is None
        assert robot.limit(0.5) is None
        assert robot.safety.refuse_output('it', robot.state) is None
    robot.safety.trip(STOP, robot.state)
    assert robot.safety.hold() is None
    assert robot.safety.stop(robot.state) is None


def test_waiting_says_what_it_waits_for(robot: Robot) -> None:
    robot.go(WAIT).check(healthy=False)
    assert robot.safety.reason is not None
    assert robot.safety.reason.code == 'F303'
    robot.check()
    assert robot.safety.reason is None


def test_a_new_life_begins_with_each_ramp_and_only_there(robot: Robot) -> None:
    robot.safety.activate()
    assert [robot.check(healthy=False), robot.check(), robot.check(),
            robot.check(after=RAMP_DURATION), robot.check(),
            robot.check(healthy=False), robot.check()] == [
        False, True, False, False, False, False, False]
    assert robot.safety.reset_fault(robot.state, robot.now) is None
    assert [robot.check(), robot.check()] == [True, False]


def test_ramp_begins_at_the_measured_pose_whatever_the_policy_asks(quick_robot: Robot) -> None:
    quick_robot.safety.activate()
    quick_robot.check()
    command = quick_robot.limit(0.75, -0.75, math.inf)
    assert sent(command) == MEASURED
    assert command is not None
    assert command.phase is RAMP


def test_ramp_begins_inside_the_limits_where_a_joint_is_measured_outside(
        quick_robot: Robot) -> None:
    quick_robot.state.joint_position[:] = 1.0625, -1.0625, 0.0
    quick_robot.safety.activate()
    quick_robot.check()
    assert sent(quick_robot.limit(0.0)) == [0.0, -1.0, 1.0]


def test_ramp_goes_in_shares_of_time_to_what_the_policy_asks(quick_robot: Robot) -> None:
    quick_robot.safety.activate()
    quick_robot.check()
    started_at = quick_robot.now
    for share, wanted in ((0.25, [0.0, 0.25, 0.4375]), (0.5, [0.25, 0.0, 0.625])):
        quick_robot.now = started_at + share * RAMP_DURATION
        assert sent(quick_robot.limit(0.75, -0.5, math.inf)) == pytest.approx(wanted)
    quick_robot.now = started_at + 1.5 * RAMP_DURATION  # a tick that took long
    assert sent(quick_robot.limit(0.75, -0.5, math.inf)) == [0.75, -0.5, 1.0]
    quick_robot.check()
    assert quick_robot.phase() is RUN
    assert sent(quick_robot.limit(0.75, -0.5, math.inf)) == [0.75, -0.5, 1.0]


def test_ramp_ends_exactly_after_its_duration(robot: Robot) -> None:
    robot.now = 9.0
    robot.safety.activate()
    robot.check(after=1.0)
    assert not robot.check(after=RAMP_DURATION - 0.015625)
    assert robot.phase() is RAMP
    robot.check(after=0.015625)
    assert robot.phase() is RUN


def test_run_keeps_bounds_and_steps(robot: Robot) -> None:
    robot.go(RUN)
    before = sent(robot.safety.limit(np.full(3, -0.25, dtype=np.float32), robot.now))
    after = sent(robot.limit(math.inf, -math.inf, 3e38))
    assert np.array(after) - before == pytest.approx([0.125, -0.125, 0.125])
    for _ in range(20):
        last = sent(robot.limit(math.inf, -math.inf, 3e38))
    assert last == [1.0, -1.0, 1.0]
    assert robot.safety.limiter.limited.min() >= 20


def test_fault_holds_the_pose_measured_when_it_came(quick_robot: Robot) -> None:
    quick_robot.go(RUN)
    quick_robot.limit(1.0)
    quick_robot.state.joint_position[:] = 0.5, 0.0, 9.0  # hip, knee, ankle
    quick_robot.safety.trip(STOP, quick_robot.state)
    quick_robot.state.joint_position[:] = 0.0
    command = quick_robot.safety.hold()
    assert sent(command) == [1.0, 0.0, 0.5]
    assert command is not None
    assert command.phase is FAULT


def test_held_pose_is_reached_in_steps(robot: Robot) -> None:
    robot.go(RUN)
    for _ in range(20):
        robot.limit(1.0)
    robot.safety.trip(STOP, robot.state)
    ankle = [sent(robot.safety.hold())[0] for _ in range(12)]
    assert ankle[:3] == [0.875, 0.75, 0.625]
    assert ankle[-3:] == [-0.25, -0.25, -0.25]


def test_fault_while_the_policy_computes_turns_its_answer_into_the_held_pose(
        quick_robot: Robot) -> None:
    quick_robot.go(RUN)
    quick_robot.limit(0.0)
    quick_robot.check()
    quick_robot.safety.trip(STOP, quick_robot.state)  # a watchdog, or an emergency stop
    command = quick_robot.limit(1.0)
    assert sent(command) == MEASURED
    assert command is not None
    assert command.phase is FAULT


def test_first_fault_stays_the_reason(robot: Robot) -> None:
    robot.go(FAULT)
    robot.safety.trip(STOP, robot.state)
    robot.check(healthy=False)
    assert robot.safety.reason is not None
    assert robot.safety.reason.code == 'F303'


def test_fault_is_latched_until_it_is_reset_with_its_cause_gone(robot: Robot) -> None:
    robot.go(FAULT)
    for _ in range(100):
        assert not robot.check(healthy=True)
        assert robot.phase() is FAULT
    robot.check(healthy=False)
    left = robot.safety.reset_fault(robot.state, robot.now)
    assert left is not None
    assert left.code == 'F303'
    assert robot.phase() is FAULT
    robot.check()
    assert robot.safety.reset_fault(robot.state, robot.now) is None
    assert robot.safety.reason is None
    robot.check()
    assert robot.phase() is RAMP


def test_after_a_reset_the_held_pose_is_sent_until_the_ramp_begins(robot: Robot) -> None:
    robot.go(FAULT)
    robot.check()
    robot.safety.reset_fault(robot.state, robot.now)
    robot.check(healthy=False)
    command = robot.safety.hold()
    assert sent(command) == MEASURED
    assert command is not None
    assert command.phase is WAIT


def test_new_ramp_steps_on_from_the_last_command(robot: Robot) -> None:
    """The robot was pushed while it held: the targets go to it, but do not jump."""
    robot.go(FAULT)
    held = sent(robot.safety.hold())
    robot.state.joint_position[:] = -0.5
    robot.check()
    robot.safety.reset_fault(robot.state, robot.now)
    robot.check()
    assert np.array(sent(robot.limit(0.0))) - held == pytest.approx([-0.125, -0.125, -0.125])
    for _ in range(10):
        last = sent(robot.limit(0.0))
    assert last == [-0.5, -0.5, -0.5]


def test_bad_output_is_bridged_once_with_the_last_target_and_then_a_fault(robot: Robot) -> None:
    robot.go(RUN)
    last = sent(robot.limit(0.25))
    bridged = robot.safety.refuse_output("for ['knee']", robot.state)
    assert sent(bridged) == last
    assert bridged is not None
    assert bridged.phase is RUN
    held = robot.safety.refuse_output("for ['knee']", robot.state)
    assert held is not None
    assert held.phase is FAULT
    assert robot.phase() is FAULT
    assert str(robot.safety.reason).startswith(
        "F209 policy output is not finite (for ['knee']) 2 times in a row. Check")


def test_good_output_between_two_bad_ones_forgives_the_first(robot: Robot) -> None:
    robot.go(RUN)
    for _ in range(3):
        robot.safety.refuse_output('it', robot.state)
        robot.limit(0.0)
    assert robot.phase() is RUN


def test_new_ramp_forgives_a_bad_output(robot: Robot) -> None:
    robot.go(RAMP)
    robot.safety.refuse_output('it', robot.state)
    robot.safety.trip(STOP, robot.state)
    robot.safety.reset_fault(robot.state, robot.now)
    robot.check()
    robot.safety.refuse_output('it', robot.state)
    assert robot.phase() is RAMP


def test_bad_first_output_sends_the_measured_pose(robot: Robot) -> None:
    robot.safety.activate()
    robot.check()
    assert sent(robot.safety.refuse_output('it', robot.state)) == MEASURED


def test_no_bad_output_is_bridged_where_none_is_allowed(
        contract: PolicyContract, limits: JointLimits, monitor_settings: MonitorSettings,
        robot: Robot) -> None:
    robot.safety = Safety(InputMonitor(contract, limits, monitor_settings), limits,
                          RAMP_DURATION, max_bad_outputs=0)
    robot.go(RUN)
    robot.safety.refuse_output('it', robot.state)
    assert robot.phase() is FAULT


def test_bad_output_after_the_end_of_activity_sends_nothing_new(robot: Robot) -> None:
    robot.go(RUN)
    for _ in range(20):
        robot.limit(1.0)
    robot.safety.stop(robot.state)
    stepped = sent(robot.safety.hold())
    further = sent(robot.safety.refuse_output('it', robot.state))
    assert further[0] == stepped[0] - 0.125  # on towards the measured pose
    robot.safety.activate()
    assert robot.safety.refuse_output('it', robot.state) is None


def test_stop_ends_with_the_measured_pose(quick_robot: Robot) -> None:
    quick_robot.go(RUN)
    quick_robot.limit(1.0)
    quick_robot.state.joint_position[:] = 0.5, 0.25, 0.0
    command = quick_robot.safety.stop(quick_robot.state)
    assert sent(command) == [0.0, 0.25, 0.5]
    assert command is not None
    assert command.phase is OFF
    assert sent(quick_robot.safety.hold()) == [0.0, 0.25, 0.5]


def test_stop_in_fault_stays_at_the_held_pose(quick_robot: Robot) -> None:
    quick_robot.go(FAULT)
    quick_robot.state.joint_position[:] = 0.0
    assert sent(quick_robot.safety.stop(quick_robot.state)) == MEASURED


def test_activation_forgets_what_was_sent(quick_robot: Robot) -> None:
    quick_robot.go(FAULT)
    quick_robot.safety.activate()
    assert quick_robot.safety.reason is None
    assert quick_robot.safety.hold() is None
    quick_robot.state.joint_position[:] = 0.0
    quick_robot.check()
    assert sent(quick_robot.limit(1.0)) == [0.0, 0.0, 0.0]


TARGETS = st.tuples(*[st.floats(width=32, allow_nan=False)] * 3)
POSES = st.tuples(*[st.floats(-1.0625, 1.0625)] * 3)
STEPS = st.lists(st.tuples(st.sampled_from(list(EVENTS)), TARGETS, POSES), max_size=40)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_a_command_is_finite_inside_and_one_step_from_the_last(
        contract: PolicyContract, limits: JointLimits, monitor_settings: MonitorSettings,
        steps: list[tuple[str, tuple[float, float, float], tuple[float, float, float]]]) -> None:
    robot = Robot(contract, limits, monitor_settings, RobotState(3))
    last, seen_healthy = None, False
    for event, target, pose in steps:
        robot.state.joint_position[:] = pose
        before = robot.phase()
        for act in (EVENTS[event], lambda robot, target=target: robot.limit(*target)):
            command = act(robot)
            if event == 'activate':
                last, seen_healthy = None, False
            seen_healthy |= robot.phase() is RAMP
            if isinstance(command, SafeCommand):
                assert seen_healthy
                assert np.isfinite(command.position).all()
                assert (np.abs(command.position) <= 1.0).all()
                if last is not None:
                    assert (np.abs(command.position - last) <= limits.max_step + ULP).all()
                last = command.position.copy()
        assert (command is None) is (last is None)
        if before is FAULT and event not in ('reset, cause gone', 'activate', 'stop'):
            assert robot.phase() is FAULT
