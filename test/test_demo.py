"""The main job, whole: two processes, real DDS, MuJoCo, the trained policy, a walk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')
pytest.importorskip('mujoco', reason='needs mujoco (make venv)')
rosbags = pytest.importorskip('rosbags', reason='needs rosbags (make venv)')

from policy_client import environment
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore, Stores

pytestmark = [pytest.mark.ros, pytest.mark.slow]
TOPICS = {'/joint_states', '/imu/data', '/cmd_vel', '/joint_position_controller/commands',
          '/odom', '/diagnostics', '/policy_node/state', '/sim_robot/status'}


def run_demo(domain: int, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo as ``make demo`` does."""
    return subprocess.Popen(
        [sys.executable, '-m', 'sim2real_policy.simulation.demo', '--no-progress', *arguments],
        env=environment(domain), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True)


@pytest.fixture(scope='module')
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str, Path]]:
    """Run the demo once: exit code, output, folder of its results."""
    out = tmp_path_factory.mktemp('demo') / 'out'
    process = run_demo(72, '--out', str(out))
    output, _ = process.communicate(timeout=150)
    yield process.returncode, output, out


def test_the_robot_does_what_is_asked(walk: tuple[int, str, Path]) -> None:
    """Exit code 0; every phase followed; no fault, no fall; the numbers are in the table."""
    code, output, out = walk
    assert code == 0, output + (out / 'policy_node.log').read_text()
    assert 'PASS' in output and 'NOT FOLLOWED' not in output
    for row in ('tick rate [Hz]', 'sensor stamp to command', 'missed ticks', 'largest tilt'):
        assert row in output


def test_the_walk_is_on_record(walk: tuple[int, str, Path]) -> None:
    """A picture, and a bag with every topic, readable, in order, with plausible content."""
    _, _, out = walk
    assert (out / 'demo.png').read_bytes().startswith(b'\x89PNG')
    with AnyReader([out / 'demo_bag'],
                   default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        assert set(counts) == TOPICS
        assert counts['/joint_position_controller/commands'] > 1000  # 28 s at 50 Hz
        times = [time for _, time, _ in reader.messages()]
        assert times == sorted(times)
        commands = [connection for connection in reader.connections
                    if connection.topic == '/joint_position_controller/commands']
        for connection, _, raw in reader.messages(commands):
            assert len(reader.deserialize(raw, connection.msgtype).data) == 12


def test_a_missing_bundle_is_told_and_nothing_walks(tmp_path: Path) -> None:
    """Exit code 2, the reason in words, and both processes are gone."""
    process = run_demo(73, '--out', str(tmp_path / 'out'), '--policy', str(tmp_path / 'nowhere'))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert 'refused to configure' in output and 'there is no policy bundle at' in output
    assert 'Traceback' not in output


def test_ctrl_c_ends_the_demo_in_order(tmp_path: Path) -> None:
    """Mid-walk, the policy node is stopped first, and says that it came to rest."""
    out = tmp_path / 'out'
    process = run_demo(74, '--out', str(out))
    log = out / 'policy_node.log'
    deadline = time.monotonic() + 40.0
    while not log.exists() or 'RUN' not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=40)
    assert process.returncode == 2 and 'stopped by a signal' in output
    assert log.read_text().rstrip().endswith('INACTIVE')
