"""The control thread: in time, owning the policy, and never the last word when it hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.command_output import CommandOutput
from sim2real_policy.control_loop import Cast, ControlLoop
from sim2real_policy.errors import InferenceError
from sim2real_policy.faults import Fault
from sim2real_policy.inbox import Inbox
from sim2real_policy.inference import make_runner, PolicyRunner
from sim2real_policy.limits import JointLimits
from sim2real_policy.messages import make_command_writer
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline
from sim2real_policy.rehearsal import Rehearsal
from sim2real_policy.safety import Phase
from sim2real_policy.state import RobotState
from tiny_bundle import DEFAULT_POSE, JOINTS, make_tiny_bundle, PERIOD

PATIENCE = 10.0  # s
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


class Recorder:
    """Stands for a ROS publisher: keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[list[float]] = []

    def publish(self, message: Any) -> None:
        self.sent.append(list(message.position))


class Obstacle:
    """A runner whose ``run`` first does what the test wants."""

    def __init__(self, runner: PolicyRunner) -> None:
        self.name = 'obstacle'
        self.input, self.output = runner.input, runner.output
        self.before: Callable[[], None] = lambda: None
        self.closed_by: int | None = None
        self.made_by = threading.get_ident()
        self.reset, self._run = runner.reset, runner.run

    def run(self) -> None:
        self.before()
        self._run()

    def close(self) -> None:
        self.closed_by = threading.get_ident()


class Bench:
    """A loop with an inbox that a test fills by hand."""

    def __init__(self, bundle: Bundle, triggered: bool = False, rehearsal: bool = False) -> None:
        contract = bundle.contract
        self.settings = PipelineSettings(
            MonitorSettings(joint_timeout=60.0, imu_timeout=60.0, odometry_timeout=60.0,
                            max_tilt=1.0, max_rejected=2),
            JointLimits(np.full(3, -1.0), np.full(3, 1.0), np.full(3, 0.2), 0.1), 0.1, 0.5)
        self.publisher = Recorder()
        self.inbox = Inbox(contract, UPRIGHT)
        writer = make_command_writer('joint_state', contract.action_joints, (), PERIOD)
        self.output = CommandOutput(self.publisher, writer, time.time_ns)
        self.runner: Obstacle
        self.bundle = bundle
        self.rehearsal = rehearsal
        self.loop = ControlLoop(self.build, self.inbox, self.output, PERIOD, triggered, PATIENCE,
                                time.time_ns)

    def build(self) -> Cast:
        self.runner = Obstacle(make_runner('auto', self.bundle))
        pipeline = PolicyPipeline(self.bundle.contract, self.runner, self.settings)
        rehearsal = Rehearsal(self.bundle, self.runner, self.settings, self.inbox) \
            if self.rehearsal else None
        return Cast(self.runner, pipeline, rehearsal)

    def feed(self, *position: float) -> None:
        joints = JointState(name=list(JOINTS), position=position or DEFAULT_POSE,
                            velocity=[0.0] * 3)
        joints.header.stamp.sec, joints.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        imu = Imu(header=joints.header)
        imu.orientation.w = 1.0
        self.inbox.put_imu(bytes(serialize_message(imu)))
        self.inbox.put_joint_state(bytes(serialize_message(joints)))

    def wait(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def run(self) -> None:
        """Start, activate, and wait for RUN."""
        self.loop.start()
        self.loop.activate()
        self.feed()
        self.wait(lambda: self.phase is Phase.RUN)

    @property
    def phase(self) -> Phase:
        return self.loop.pipeline.safety.phase


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the tiny policy."""
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp('policy') / 'bundle'))


@pytest.fixture
def bench(bundle: Bundle) -> Iterator[Bench]:
    """Return a loop that ticks at its period; closed afterwards."""
    made = Bench(bundle)
    yield made
    made.runner.before = lambda: None
    assert made.loop.close(PATIENCE)


def test_runner_lives_and_dies_in_the_control_thread(bundle: Bundle) -> None:
    """A CUDA context belongs to one thread: who makes the runner closes it."""
    bench = Bench(bundle)
    bench.loop.start()
    assert bench.loop.close(PATIENCE)
    assert bench.runner.made_by == bench.runner.closed_by != threading.get_ident()


def test_a_failed_build_is_told_to_the_starter(bundle: Bundle) -> None:
    """Start raises what the control thread met, and no thread stays behind."""
    bench = Bench(bundle)

    def build() -> Cast:
        raise InferenceError('no such network')
    loop = ControlLoop(build, bench.inbox, bench.output, PERIOD, False, PATIENCE, time.time_ns)
    with pytest.raises(InferenceError, match='no such network'):
        loop.start()
    assert loop.close(PATIENCE)


def test_a_slow_tick_is_counted_as_missed(bench: Bench) -> None:
    """A tick of three and a half periods costs three deadlines, and no more."""
    bench.run()
    missed = bench.loop.pacer.missed
    slow = threading.Event()

    def once() -> None:
        if not slow.is_set():
            slow.set()
            time.sleep(3.5 * PERIOD)
    bench.runner.before = once
    bench.wait(lambda: bench.loop.pacer.missed >= missed + 3)
    assert bench.phase is Phase.RUN


def test_the_watchdog_holds_the_robot_while_the_tick_hangs(bench: Bench) -> None:
    """While inference hangs the watchdog sends the newest pose; the late command is dropped."""
    bench.run()
    hang, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        hang.wait(PATIENCE)
    bench.runner.before = block
    assert entered.wait(PATIENCE)
    busy_since = bench.loop.busy_since
    assert busy_since is not None and busy_since <= time.monotonic()
    state = RobotState(3)
    state.joint_position[:] = (0.15, 0.25, 0.35)
    bench.publisher.sent.clear()
    bench.loop.take_over(Fault('F208', 'hung'), state)
    assert bench.publisher.sent == [pytest.approx([0.15, 0.25, 0.35])]
    bench.runner.before = lambda: None
    hang.set()
    bench.wait(lambda: len(bench.publisher.sent) >= 4)
    assert bench.phase is Phase.FAULT
    assert all(row == pytest.approx([0.15, 0.25, 0.35]) for row in bench.publisher.sent)


def test_an_internal_error_holds_the_robot(bench: Bench) -> None:
    """Whatever a stage raises: F309, latched, with its trace; the loop goes on holding."""
    bench.run()

    def explode() -> None:
        raise ZeroDivisionError('a bug')
    bench.runner.before = explode
    bench.wait(lambda: bench.phase is Phase.FAULT)
    reason = bench.loop.pipeline.safety.reason
    assert reason is not None and reason.code == 'F309' and 'a bug' in reason.message
    seen = len(bench.publisher.sent)
    bench.wait(lambda: len(bench.publisher.sent) >= seen + 3)
    assert bench.publisher.sent[-1] == pytest.approx(DEFAULT_POSE)
    assert bench.loop.alive


def test_deactivate_ends_the_ticks_and_activate_begins_anew(bench: Bench) -> None:
    """After deactivate nothing more is sent; after activate the robot waits for new inputs."""
    bench.run()
    assert bench.loop.deactivate(PATIENCE)
    sent = len(bench.publisher.sent)
    bench.loop.activate()
    assert bench.phase is Phase.WAITING
    assert len(bench.publisher.sent) == sent
    bench.feed()
    bench.wait(lambda: bench.phase is Phase.RUN)


def test_a_trigger_makes_one_tick(bundle: Bundle) -> None:
    """Triggered, nothing happens without a trigger; one before the last was taken is counted."""
    bench = Bench(bundle, triggered=True)
    bench.loop.start()
    bench.loop.activate()
    bench.feed()
    assert bench.publisher.sent == []
    for ticks in range(1, 4):
        bench.loop.trigger()
        bench.wait(lambda expected=ticks: len(bench.publisher.sent) == expected)
    gate, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        gate.wait(PATIENCE)
    bench.runner.before = block
    bench.loop.trigger()
    assert entered.wait(PATIENCE)
    assert bench.loop.overrun_triggers == 0
    bench.loop.trigger()  # waits for its turn
    bench.loop.trigger()  # finds one waiting already
    assert bench.loop.overrun_triggers == 1
    bench.runner.before = lambda: None
    gate.set()
    assert bench.loop.close(PATIENCE)


def test_the_rehearsal_sends_nothing_and_changes_nothing(bundle: Bundle) -> None:
    """With rehearsal the commands are those without it, one per tick."""
    bench = Bench(bundle, rehearsal=True)
    bench.run()
    runs: list[int] = []
    bench.runner.before = lambda: runs.append(1)
    begin = bench.loop.statistics.ticks
    bench.wait(lambda: bench.loop.statistics.ticks >= begin + 10)
    assert bench.loop.deactivate(PATIENCE)
    ticks = bench.loop.statistics.ticks
    assert len(bench.publisher.sent) == ticks
    assert len(runs) > ticks - begin  # the rehearsals ran the network too
    assert bench.publisher.sent[-1] == pytest.approx(DEFAULT_POSE)
    assert bench.loop.close(PATIENCE)


def test_statistics_are_recorded_per_tick(bench: Bench) -> None:
    """Every tick that sent something has its durations, all of them positive."""
    bench.run()
    summary = bench.loop.statistics.summary()
    assert bench.loop.statistics.ticks > 0
    assert summary['tick']['p50'] > 0.0
    assert summary['tick']['max'] >= summary['inference']['max']
