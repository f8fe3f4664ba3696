"""The control thread: in time, owning the policy, and never the last word when it hangs."""

from __future__ import annotations

from collections.abc import Iterator
import threading
import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from loop_bench import Bench, PATIENCE
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.control_loop import Cast, ControlLoop
from sim2real_policy.errors import InferenceError
from sim2real_policy.faults import Fault
from sim2real_policy.safety import Phase
from sim2real_policy.state import RobotState
from tiny_bundle import DEFAULT_POSE, make_tiny_bundle, PERIOD


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
    """A tick of three and a half periods loses two deadlines; the third is met late."""
    bench.run()
    missed = bench.loop.pacer.missed
    slow = threading.Event()

    def once() -> None:
        if not slow.is_set():
            slow.set()
            time.sleep(3.5 * PERIOD)
    bench.runner.before = once
    bench.wait(lambda: bench.loop.pacer.missed >= missed + 2)
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
