"""Operator, watchdog and shutdown stop the robot, whatever the control thread is doing."""

from __future__ import annotations

from collections.abc import Iterator
import threading
import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')

from loop_bench import Bench, PATIENCE
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.safety import Phase
from sim2real_policy.supervisor import MIN_STOP_MESSAGES, Supervisor
from tiny_bundle import DEFAULT_POSE, make_tiny_bundle

WATCHDOG = 0.1  # s
MEASURED = (0.15, 0.25, 0.35)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the tiny policy."""
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp('policy') / 'bundle'))


@pytest.fixture
def bench(bundle: Bundle) -> Iterator[Bench]:
    """Return a loop that runs; closed afterwards."""
    made = Bench(bundle)
    made.run()
    yield made
    made.runner.before = lambda: None
    assert made.loop.close(PATIENCE)


@pytest.fixture
def supervisor(bench: Bench) -> Supervisor:
    """Return its supervisor."""
    return Supervisor(bench.bundle, bench.loop, bench.inbox, bench.output, WATCHDOG, 0.1)


def hang(bench: Bench) -> threading.Event:
    """Let the running tick hang until the event is set."""
    release, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        release.wait(PATIENCE)
    bench.runner.before = block
    assert entered.wait(PATIENCE)
    return release


def test_a_healthy_loop_is_left_alone(bench: Bench, supervisor: Supervisor) -> None:
    """Watching changes nothing while ticks end in time."""
    ticks = bench.loop.statistics.ticks
    while bench.loop.statistics.ticks < ticks + 5:
        supervisor.watch()
    assert bench.phase is Phase.RUN


def test_the_watchdog_takes_over_a_hung_loop(bench: Bench, supervisor: Supervisor) -> None:
    """After its timeout the newest measured pose goes out, and F208 is latched."""
    release = hang(bench)
    bench.feed(*MEASURED)
    bench.publisher.sent.clear()
    deadline = time.monotonic() + PATIENCE
    while bench.phase is Phase.RUN:
        supervisor.watch()
        assert time.monotonic() < deadline
    reason = bench.loop.pipeline.safety.reason
    assert reason is not None and reason.code == 'F208' and '100 ms' in reason.message
    assert bench.publisher.sent == [pytest.approx(MEASURED)]
    release.set()


def test_a_takeover_without_a_good_measurement_keeps_the_last_good_one(
        bench: Bench, supervisor: Supervisor) -> None:
    """A spoilt newest message is not a pose of zeros."""
    release = hang(bench)
    bench.feed(float('nan'), 0.2, 0.3)
    bench.publisher.sent.clear()
    while bench.phase is Phase.RUN:
        supervisor.watch()
    assert bench.publisher.sent[-1] == pytest.approx(DEFAULT_POSE)
    release.set()


def test_stop_sends_the_measured_pose_several_times(
        bench: Bench, supervisor: Supervisor) -> None:
    """At least five messages, the newest pose, then silence; a second stop does nothing."""
    bench.feed(*MEASURED)
    bench.publisher.sent.clear()
    assert supervisor.stop()
    stops = [row for row in bench.publisher.sent if row == pytest.approx(MEASURED)]
    assert len(stops) >= MIN_STOP_MESSAGES
    assert bench.publisher.sent[-1] == pytest.approx(MEASURED)
    assert bench.phase is Phase.INACTIVE
    sent = len(bench.publisher.sent)
    assert not supervisor.stop()
    assert len(bench.publisher.sent) == sent


def test_stop_works_while_the_loop_hangs(bench: Bench, supervisor: Supervisor) -> None:
    """The end of activity does not wait for a tick that never ends."""
    release = hang(bench)
    bench.feed(*MEASURED)
    bench.publisher.sent.clear()
    assert supervisor.stop()
    assert bench.publisher.sent[-1] == pytest.approx(MEASURED)
    release.set()


def test_emergency_stop_and_reset(bench: Bench, supervisor: Supervisor) -> None:
    """F401 is latched; reset ramps up again; each says what it did."""
    assert supervisor.reset_fault() == (False, 'there is no fault to reset')
    assert supervisor.stop_for_operator()[0]
    assert bench.phase is Phase.FAULT
    worked, words = supervisor.reset_fault()
    assert worked and 'ramps up' in words
    bench.wait(lambda: bench.phase is Phase.RUN)


def test_emergency_stop_while_the_loop_hangs(bench: Bench, supervisor: Supervisor) -> None:
    """The stop goes past the hanging tick; a reset does not."""
    release = hang(bench)
    bench.publisher.sent.clear()
    assert supervisor.stop_for_operator()[0]
    assert bench.publisher.sent
    assert supervisor.reset_fault() == (False, 'the control thread does not answer')
    release.set()


def test_nothing_to_stop_before_activation(bundle: Bundle) -> None:
    """An inactive loop is not woken."""
    bench = Bench(bundle)
    bench.loop.start()
    supervisor = Supervisor(bundle, bench.loop, bench.inbox, bench.output, WATCHDOG, 0.1)
    assert not supervisor.stop()
    assert supervisor.stop_for_operator() == (False, 'the node is not active; nothing to stop')
    assert bench.publisher.sent == []
    assert bench.loop.close(PATIENCE)
