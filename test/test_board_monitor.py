"""
The board is watched by a program that costs little, ends with the node, and breaks nothing.

The stand-in for tegrastats prints real lines; nothing here was run on a Jetson.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import importlib.util
import os
from pathlib import Path
import sys
import threading
import time
from typing import Any

import pytest
from sim2real_policy import board_monitor
from sim2real_policy.board_monitor import BoardMonitor, BoardReport, BoardSource
from sim2real_policy.errors import ConfigError, MissingDependencyError
from sim2real_policy.jtop_stats import parse_jtop
from sim2real_policy.tegrastats import parse_tegrastats
from sim2real_policy.throttling import ThrottlingSigns
from tegrastats_lines import AGX_ORIN_5, AGX_ORIN_7, ORIN_NANO_6, THOR_7, XAVIER_NX_5

PATIENCE = 10.0  # s
DOMAIN = 90
STATUS = 'policy_node: board'
SILENT = 'signal.pause()'
# {body} may use say(line), which prints at once.
PROGRAM = """#!{python}
import os, signal, subprocess, sys
assert sys.argv[1:] == ['--interval', '1000'], sys.argv
def say(line):
    print(line, flush=True)
open({pid!r}, 'w').write(str(os.getpid()))
{body}
"""


class StandIn:
    """A folder with a program named tegrastats that does what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / 'tegrastats'
        self.pid_file = folder / 'pid'

    def write(self, *body: str) -> None:
        self.program.write_text(PROGRAM.format(python=sys.executable, pid=str(self.pid_file),
                                               body='\n'.join(body)), encoding='utf-8')
        self.program.chmod(0o755)

    def print_lines(self, *lines: str) -> None:
        self.write(*(f'say({line!r})' for line in lines), SILENT)

    @property
    def pid(self) -> int:
        wait_for(lambda: self.pid_file.exists() and self.pid_file.read_text())
        return int(self.pid_file.read_text())


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Give a stand-in, first on PATH."""
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    return StandIn(tmp_path)


@contextmanager
def running(choice: str = 'auto') -> Iterator[BoardMonitor]:
    """Run the monitor of this machine."""
    monitor = board_monitor.make_board_monitor(choice)
    assert monitor is not None
    monitor.start()
    try:
        yield monitor
    finally:
        monitor.close()


def wait_for(happened: Callable[[], Any]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, 'it did not happen'
        time.sleep(0.005)


def report_with(monitor: BoardMonitor, happened: Callable[[BoardReport], Any]) -> BoardReport:
    """Ask again and again until a report is as wanted."""
    reports: list[BoardReport] = []

    def ask() -> Any:
        reports.append(monitor.report())
        return happened(reports[-1])
    wait_for(ask)
    return reports[-1]


def alive(pid: int) -> bool:
    """Tell whether a process runs; a dead one that nobody waited for does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text(encoding='ascii').split(') ')[1][0] != 'Z'
    except FileNotFoundError:
        return False


def test_readings_of_an_orin_nano(stand_in: StandIn) -> None:
    stand_in.print_lines(ORIN_NANO_6)
    with running() as monitor:
        report = report_with(monitor, lambda report: 'gpu_percent' in report.values)
    assert report.warnings == []
    assert report.values == {
        'source': 'tegrastats', 'gpu_percent': 84, 'gpu_mhz': 713, 'cpu_percent': 97,
        'cpu_busiest_percent': 97, 'emc_percent': 18, 'memory_used_mb': 6982,
        'memory_total_mb': 7620, 'swap_used_mb': 2640, 'power_total_mw': 17946,
        'temperature_cv0_c': 63.031, 'temperature_cpu_c': 65.562, 'temperature_gpu_c': 63.5,
        'temperature_tj_c': 65.562, 'power_vdd_in_mw': 17946, 'power_vdd_cpu_gpu_cv_mw': 8896,
        'power_vdd_soc_mw': 3923, 'throttled': 'no', 'lines_not_understood': 0}


def test_the_newest_of_many_lines_counts(stand_in: StandIn) -> None:
    stand_in.print_lines(XAVIER_NX_5, AGX_ORIN_5, THOR_7, AGX_ORIN_7)
    with running() as monitor:
        report = report_with(monitor, lambda report: report.values.get('gpu_mhz') == 1300)
    assert 'swap_used_mb' not in report.values
    assert report.values['lines_not_understood'] == 0


def test_lines_that_are_not_understood_are_counted_and_shown(stand_in: StandIn) -> None:
    stand_in.write("say('NvRmMemInit failed')", "say('x' * 20000)", r"os.write(1, b'\xff\n')",
                   f'say({ORIN_NANO_6!r})', SILENT)
    with running() as monitor:
        report = report_with(monitor, lambda report: 'gpu_percent' in report.values)
    assert report.warnings == []
    # The long one arrives in three parts.
    assert report.values['lines_not_understood'] == 5
    assert report.values['line_not_understood'] == '\ufffd'


def test_a_program_that_ends_is_told_with_its_last_words(stand_in: StandIn) -> None:
    stand_in.write("sys.exit('not permitted')")
    with running() as monitor:
        report = report_with(monitor, lambda report: report.warnings)
    assert report.warnings == ['tegrastats ended with exit code 1: not permitted']


def test_a_program_that_is_no_program_is_told(stand_in: StandIn) -> None:
    stand_in.program.write_bytes(b'\x7fELF of another machine')
    stand_in.program.chmod(0o755)
    with running() as monitor:
        assert 'tegrastats could not be started' in monitor.report().warnings[0]


def test_silence_is_told(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_monitor, 'STALE_AFTER', 0.05)
    stand_in.write(SILENT)
    with running() as monitor:
        report = report_with(monitor, lambda report: report.warnings)
    assert report.warnings == ['no reading from tegrastats for 0 s']


@pytest.mark.parametrize(('temperature', 'warnings'), [
    ('84.9', []), ('85', ['tj is 85 C hot'])])
def test_heat_is_told(stand_in: StandIn, temperature: str, warnings: list[str]) -> None:
    stand_in.print_lines(f'RAM 1/2MB tj@{temperature}C')
    with running() as monitor:
        report = report_with(monitor, lambda report: 'temperature_tj_c' in report.values)
    assert report.warnings == warnings


def test_throttling_and_power_failures_since_configure_are_told(
        stand_in: StandIn, tmp_path: Path) -> None:
    """Seven over-currents before configure are history; two more are a warning."""
    alert = tmp_path / 'sys/class/thermal/cooling_device0'
    counter = tmp_path / 'sys/class/hwmon/hwmon1/oc3_event_cnt'
    alert.mkdir(parents=True)
    counter.parent.mkdir(parents=True)
    (alert / 'type').write_text('gpu-throttle-alert')
    (alert / 'cur_state').write_text('0')
    counter.write_text('7')
    go_on = tmp_path / 'go_on'
    os.mkfifo(go_on)
    stand_in.write(f'say({ORIN_NANO_6!r})', f'open({str(go_on)!r}).read()',
                   f'say({AGX_ORIN_7!r})', SILENT)
    monitor = BoardMonitor(
        BoardSource('tegrastats', (str(stand_in.program), '--interval', '1000'),
                    parse_tegrastats), ThrottlingSigns(tmp_path / 'sys'))
    monitor.start()
    try:
        report = report_with(monitor, lambda report: 'gpu_percent' in report.values)
        assert report.warnings == []
        assert report.values['oc3_events'] == 7
        (alert / 'cur_state').write_text('1')
        counter.write_text('9')
        go_on.write_text('')
        report = report_with(monitor, lambda report: report.values.get('gpu_mhz') == 1300)
    finally:
        monitor.close()
    assert report.values['throttled'] == 'gpu'
    assert report.warnings == [
        'gpu is slowed down by heat', 'over-current occurred 2 times since configure; check '
        'supply, cables and power mode']


@pytest.mark.parametrize('body', [
    [SILENT],
    ['signal.signal(signal.SIGTERM, signal.SIG_IGN)', "say('deaf')", 'while True:',
     f'    {SILENT}'],
    ["subprocess.Popen(['sleep', '1000'])", "say('parent')", SILENT],
    ['os.close(1)', 'os.close(2)', SILENT]],
    ids=['obedient', 'deaf to SIGTERM', 'with a child', 'closed its output'])
def test_the_program_ends_with_the_monitor(stand_in: StandIn, body: list[str]) -> None:
    stand_in.write(*body)
    with running() as monitor:
        pid = stand_in.pid
        if any('say' in line for line in body):
            report_with(monitor, lambda report: report.values['lines_not_understood'])
        assert alive(pid)
    wait_for(lambda: not alive(pid))
    wait_for(lambda: not group_members(pid))
    monitor.close()


def group_members(group: int) -> list[str]:
    """Return the processes of a process group that are alive."""
    members = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            state, _, member_of = (folder / 'stat').read_text().rpartition(') ')[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(member_of) == group and state != 'Z':
            members.append(folder.name)
    return members


def test_ctrl_c_in_the_terminal_does_not_reach_it(stand_in: StandIn) -> None:
    stand_in.print_lines(ORIN_NANO_6)
    with running():
        assert os.getpgid(stand_in.pid) == stand_in.pid != os.getpgid(0)


def test_all_others_go_first(stand_in: StandIn) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    stand_in.print_lines(ORIN_NANO_6)
    with running() as monitor:
        report_with(monitor, lambda report: 'gpu_percent' in report.values)
        listener, = (thread.native_id for thread in threading.enumerate()
                     if thread.name == 'board')
        assert listener is not None
        assert os.getpriority(os.PRIO_PROCESS, listener) >= 10
        assert os.getpriority(os.PRIO_PROCESS, stand_in.pid) >= 10
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
        assert os.sched_getscheduler(stand_in.pid) == os.SCHED_OTHER


def test_nothing_to_watch_is_no_reason_to_complain(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(board_monitor, 'JTOP_SOCKET', tmp_path / 'jtop.sock')
    assert board_monitor.make_board_monitor('auto') is None


def test_none_is_none(stand_in: StandIn) -> None:
    stand_in.print_lines(ORIN_NANO_6)
    assert board_monitor.make_board_monitor('none') is None


def test_what_was_asked_for_and_is_not_there_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='no such program on PATH; it comes with JetPack'):
        board_monitor.make_board_monitor('tegrastats')
    with pytest.raises(MissingDependencyError, match='sudo pip3 install -U jetson-stats'):
        board_monitor.make_board_monitor('jtop')


FAKE_JTOP = """
class jtop:
    def __init__(self, interval):
        assert interval == 1.0
        {init}
    def __enter__(self):
        return self
    def __exit__(self, *args):
        pass
    def ok(self):
        self.rounds = getattr(self, 'rounds', 0) + 1
        if self.rounds > 1:
            import signal
            signal.pause()
        return True
    memory = {{'RAM': {{'tot': 8388608, 'used': 2097152}}, 'SWAP': {{'used': 1024}},
              'EMC': {{'val': 3}}}}
    cpu = {{'cpu': [{{'online': True, 'idle': 80.0}}, {{'online': True, 'idle': 40.0}},
                   {{'online': False}}]}}
    gpu = {{'gpu': {{'status': {{'load': 12.5}}, 'freq': {{'cur': 1300000}}}}}}
    temperature = {{'CPU': {{'temp': 52.9}}, 'cv0': {{'temp': -256}}}}
    power = {{'rail': {{'VDD_SOC': {{'power': 1500}}}}, 'tot': {{'power': 9000}}}}
"""


@pytest.fixture
def jtop_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that installs a stand-in for jetson-stats."""
    monkeypatch.delenv('PYTHONUNBUFFERED', raising=False)
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), root]))
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(init: str) -> None:
        (tmp_path / 'jtop.py').write_text(FAKE_JTOP.format(init=init), encoding='utf-8')
    return write


def test_readings_of_jtop(jtop_library: Callable[[str], None]) -> None:
    """Memory comes in KiB, clocks in kHz; cores that are off and dead sensors do not count."""
    jtop_library('pass')
    with running('jtop') as monitor:
        report = report_with(monitor, lambda report: 'gpu_percent' in report.values)
    assert report.warnings == []
    assert report.values == {
        'source': 'jtop', 'gpu_percent': 12.5, 'gpu_mhz': 1300, 'cpu_percent': 40,
        'cpu_busiest_percent': 60, 'emc_percent': 3, 'memory_used_mb': 2048,
        'memory_total_mb': 8192, 'swap_used_mb': 1, 'power_total_mw': 9000,
        'temperature_cpu_c': 52.9, 'power_vdd_soc_mw': 1500, 'throttled': 'no',
        'lines_not_understood': 0}


def test_the_reason_of_jtop_is_told(jtop_library: Callable[[str], None]) -> None:
    jtop_library("raise RuntimeError('The jtop.service is not active')")
    with running('jtop') as monitor:
        report = report_with(monitor, lambda report: report.warnings)
    assert report.warnings == ['jtop ended with exit code 2: jtop: RuntimeError: The '
                               'jtop.service is not active']


def test_auto_takes_jtop_where_its_service_runs(
        jtop_library: Callable[[str], None], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    jtop_library('pass')
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(board_monitor, 'JTOP_SOCKET', tmp_path / 'jtop.sock')
    assert board_monitor.make_board_monitor('auto') is None
    (tmp_path / 'jtop.sock').touch()
    with running('auto') as monitor:
        assert monitor.report().values['source'] == 'jtop'


@pytest.mark.parametrize('line', [
    '', 'null', '7', '{}', '{"memory_used_mb": 1}', '[' * 100_000, 'jtop: no service'])
def test_what_is_no_line_of_ours_gives_nothing(line: str) -> None:
    assert parse_jtop(line) is None


@pytest.mark.ros
def test_the_node_tells_it_and_takes_it_along(stand_in: StandIn, tmp_path: Path) -> None:
    """From configure on there is a status ``board``; cleanup and Ctrl-C end the program."""
    pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')
    from policy_client import CLEANUP, CONFIGURE, policy_and_client
    from tiny_bundle import make_tiny_bundle
    stand_in.print_lines(ORIN_NANO_6)
    bundle = make_tiny_bundle(tmp_path / 'bundle')
    with policy_and_client(DOMAIN, bundle) as (process, client):
        assert not stand_in.pid_file.exists()
        for end in (lambda: client.transition(CLEANUP), process.end):
            assert client.transition(CONFIGURE)
            client.wait(lambda: 'gpu_percent' in client.diagnostics.get(STATUS, {}),
                        'a reading')
            pid = stand_in.pid
            assert client.diagnostics[STATUS]['gpu_percent'] == '84'
            end()
            assert not alive(pid)
            stand_in.pid_file.unlink()
            client.diagnostics.clear()


@pytest.mark.ros
def test_the_node_is_silent_where_nothing_is_watched(stand_in: StandIn, tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')
    from policy_client import CONFIGURE, policy_and_client
    from tiny_bundle import make_tiny_bundle
    stand_in.print_lines(ORIN_NANO_6)
    bundle = make_tiny_bundle(tmp_path / 'bundle')
    with policy_and_client(DOMAIN + 1, bundle, board_monitor='none') as (_, client):
        assert client.transition(CONFIGURE)
        client.wait(lambda: 'policy_node: loop' in client.diagnostics, 'diagnostics')
        assert STATUS not in client.diagnostics
        assert not stand_in.pid_file.exists()
