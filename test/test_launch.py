"""Rule: the launch files explain their arguments, refuse mistakes, and really start and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import time
from typing import Any

import pytest
from sim2real_policy.resources import config_file, PUP_BUNDLE

# Not plain 'launch', which could be the folder of this repository.
sources = pytest.importorskip('launch.launch_description_sources',
                              reason='launch comes with ROS 2 only; not installed')
pytest.importorskip('launch_ros', reason='launch_ros comes with ROS 2 only; not installed')

LAUNCH = Path(__file__).resolve().parents[1] / 'launch'
PACKAGE = 'sim2real_policy'
DOMAIN = 58
START_PATIENCE = 60.0  # s
DEMO_PATIENCE = 150.0  # s; it takes 35 on an idle computer


def arguments(name: str) -> dict[str, Any]:
    """Load a launch file as `ros2 launch --show-args` does; give its arguments by name."""
    description = sources.get_launch_description_from_python_launch_file(str(LAUNCH / name))
    return {argument.name: argument for argument in description.get_launch_arguments()}


def default(argument: Any) -> str | None:
    """Give the default of an argument as text, None where it has to be given."""
    parts = argument.default_value
    return None if parts is None else ''.join(part.text for part in parts)


@pytest.mark.parametrize('name', ['policy.launch.py', 'demo.launch.py'])
def test_every_argument_is_explained(name: str) -> None:
    texts = {key: argument.description for key, argument in arguments(name).items()}
    assert len(texts) >= 3
    assert [key for key, text in texts.items()
            if len(text) < 10 or text == 'no description given'] == []


def test_a_robot_of_ones_own_needs_a_file_and_a_person_who_activates() -> None:
    known = arguments('policy.launch.py')
    assert default(known['config']) is None
    assert default(known['autostart']) == 'false'
    assert known['autostart'].choices == ['true', 'false']
    assert {key for key, argument in known.items() if default(argument) == ''} == {
        'policy', 'backend', 'namespace', 'use_sim_time', 'joint_states_topic', 'imu_topic',
        'odometry_topic', 'cmd_vel_topic', 'command_topic'}


def test_the_demo_needs_no_argument() -> None:
    known = arguments('demo.launch.py')
    assert default(known['policy']) == str(PUP_BUNDLE)
    assert default(known['config']) == str(config_file('pup.yaml'))
    assert default(known['out']) == 'out'


def _installed() -> bool:
    """Tell whether `ros2 launch sim2real_policy` can work."""
    from ament_index_python.packages import get_package_share_directory, PackageNotFoundError
    try:
        return (Path(get_package_share_directory(PACKAGE)) / 'launch').is_dir()
    except PackageNotFoundError:
        return False


class Terminal:
    """A `ros2` command in a session of its own, and what it prints."""

    def __init__(self, output: Path, *words: str) -> None:
        self.output = output
        environment = os.environ | {
            'ROS_DOMAIN_ID': str(DOMAIN), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'ROS_LOG_DIR': str(output.parent / 'log')}
        with output.open('w', encoding='utf-8') as file:
            self.process = subprocess.Popen(
                ['ros2', *words], env=environment, cwd=output.parent, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    def text(self) -> str:
        return self.output.read_text(encoding='utf-8', errors='replace')

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if re.search(pattern, self.text()):
                return
            time.sleep(0.1)
        raise AssertionError(f"no '{pattern}' in\n{self.text()}")

    def end(self, patience: float = START_PATIENCE) -> int:
        """Wait for its end and give the exit code."""
        return self.process.wait(patience)

    def interrupt(self) -> int:
        """Stop it as a service manager does; launch itself interrupts its nodes."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(name='start')
def _start(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    if shutil.which('ros2') is None:
        pytest.skip('the ros2 command comes with ROS 2 only; not installed')
    if not _installed():
        pytest.skip(f'{PACKAGE} is not installed with colcon, so ros2 launch cannot find it')
    running: list[Terminal] = []

    def start(*words: str) -> Terminal:
        running.append(Terminal(tmp_path / f'{len(running)}.log', *words))
        return running[-1]
    yield start
    for terminal in running:
        terminal.kill()


def patient(folder: Path) -> Path:
    """Write the demo's choices with timeouts that a busy computer keeps."""
    text = config_file('pup.yaml').read_text(encoding='utf-8')
    patched = re.sub(r'_timeout: .*', '_timeout: 2.0', text) + '    watchdog_timeout: 2.0\n'
    assert patched.count('_timeout: 2.0') == 3
    path = folder / 'patient.yaml'
    path.write_text(patched, encoding='utf-8')
    return path


@pytest.mark.ros
@pytest.mark.parametrize(('words', 'message'), [
    ([], "missing required argument 'config'"),
    (['config:=absent.yaml'], "config 'absent.yaml' is not a file; expected the parameter file"),
    (['config:=absent.yaml', 'autostart:=yes'], "Valid options are: ['true', 'false']"),
])
def test_mistakes_on_the_command_line_start_nothing(
        start: Callable[..., Terminal], words: list[str], message: str) -> None:
    terminal = start('launch', PACKAGE, 'policy.launch.py', *words)
    assert terminal.end() == 1
    assert message in terminal.text()
    assert 'process started' not in terminal.text()


@pytest.mark.ros
def test_autostart_brings_the_robot_to_run_and_ends_in_order(
        start: Callable[..., Terminal], tmp_path: Path) -> None:
    robot = start('run', PACKAGE, 'sim_robot_node', '--ros-args', '-r', 'imu/data:=/other/imu')
    policy = start('launch', PACKAGE, 'policy.launch.py', f'config:={patient(tmp_path)}',
                   f'policy:={PUP_BUNDLE}', 'imu_topic:=/other/imu', 'autostart:=true')
    policy.wait_for(r'\[policy_node\]: RUN')
    assert policy.interrupt() == 0
    assert re.search(r'\[policy_node\]: RUN[^$]*\[policy_node\]: INACTIVE', policy.text())
    assert 'policy_node-1]: process has finished cleanly' in policy.text()
    assert robot.process.poll() is None


@pytest.mark.ros
def test_autostart_that_is_refused_tells_what_to_do(start: Callable[..., Terminal]) -> None:
    policy = start('launch', PACKAGE, 'policy.launch.py', f"config:={config_file('pup.yaml')}",
                   'policy:=/absent', 'autostart:=true')
    policy.wait_for('there is no policy bundle at /absent')
    policy.wait_for('policy_node refused to configure; mend what it says above')
    assert policy.interrupt() == 0
    assert 'WAITING' not in policy.text()


@pytest.mark.ros
@pytest.mark.slow
def test_demo_walks_to_its_verdict_and_stops_the_policy_node_before_the_robot(
        start: Callable[..., Terminal], tmp_path: Path) -> None:
    demo = start('launch', PACKAGE, 'demo.launch.py', f'config:={patient(tmp_path)}',
                 'out:=results')
    code, text = demo.end(DEMO_PATIENCE), demo.text()
    assert 'PASS: the robot did what was asked' in text, text
    assert 'demo: PASS' in text
    assert code == 0
    assert text.index('policy_node-2]: process has finished cleanly') < text.index(
        "sending signal 'SIGINT' to process[sim_robot_node-1]")
    assert 'sim_robot_node-1]: process has finished cleanly' in text
    assert (tmp_path / 'results' / 'demo.png').is_file()


@pytest.mark.ros
def test_demo_without_a_bundle_fails_with_exit_code_1(start: Callable[..., Terminal]) -> None:
    demo = start('launch', PACKAGE, 'demo.launch.py', 'policy:=/absent')
    assert demo.end(DEMO_PATIENCE) == 1
    assert 'there is no policy bundle at /absent' in demo.text()
    assert 'demo: FAIL' in demo.text()
    assert 'policy_node-2]: process has finished cleanly' in demo.text()
    assert 'sim_robot_node-1]: process has finished cleanly' in demo.text()
