"""Rule: the benchmark measures real work, compares like with like, and says so plainly."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('onnxruntime')
pytest.importorskip('tqdm')

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.contract import parse_contract
from sim2real_policy.offline import benchmark_ticker
from sim2real_policy.offline.benchmark import main
from sim2real_policy.offline.benchmark_operator import Operator
from sim2real_policy.offline.benchmark_processes import BACKEND_VARIABLE, BenchmarkError, Process
from sim2real_policy.offline.benchmark_report import as_text, judge, summarise
from sim2real_policy.offline.benchmark_robot import (
    command_order,
    node_parameters,
    serialized,
    StandingRobot,
)
from sim2real_policy.offline.benchmark_stream import Peer, Record
from sim2real_policy.offline.benchmark_ticker import TimedTicks
from sim2real_policy.resources import PUP_BUNDLE

TOOL = Path(__file__).resolve().parents[1] / 'tools' / 'benchmark.py'
DOMAIN, DOMAIN_TO_INTERRUPT = 94, 95
PATIENCE = 200.0
MARK = 'BENCHMARK_TEST_MARK'
STAGES = {'decode', 'observation', 'inference', 'action_and_safety', 'publish'}


def environment(domain: int, mark: str) -> dict[str, str]:
    return {**os.environ, 'ROS_DOMAIN_ID': str(domain), MARK: mark,
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}


def marked_processes(mark: str) -> list[str]:
    """Return the command lines of all processes that were started with a mark."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            if f'{MARK}={mark}'.encode() in (folder / 'environ').read_bytes():
                found.append((folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode())
    return [line for line in found if line]


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f'waited in vain for {what}'
        time.sleep(0.05)


@pytest.fixture(scope='module')
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what one quick run of everything writes and says."""
    path = tmp_path_factory.mktemp('benchmark') / 'results.json'
    process = subprocess.run(
        [sys.executable, str(TOOL), '--quick', '--json', str(path)], text=True,
        env=environment(DOMAIN, 'quick'), capture_output=True, timeout=PATIENCE, check=False)
    assert process.returncode == 0, process.stderr
    results: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    return {**results, 'said': process.stdout}


def check_summary(summary: dict[str, float]) -> None:
    assert summary['count'] > 0
    assert 0.0 < summary['p50_us'] <= summary['p99_us'] <= summary['max_us']


@pytest.mark.ros
@pytest.mark.slow
def test_every_stage_is_timed_hot_paced_and_rehearsed(quick: dict[str, Any]) -> None:
    assert set(quick['stages']) == {'hot', 'paced', 'paced_rehearsed'}
    for part in quick['stages'].values():
        for name in (*STAGES, 'tick_compute', 'tick_with_publish', 'inference_alone'):
            check_summary(part[name])
        compute = part['tick_compute']['p50_us']
        assert part['inference']['p50_us'] < compute < part['tick_with_publish']['p50_us']
        assert part['ratio_compute'] == pytest.approx(
            compute / part['inference_alone']['p50_us'])
        assert 1.0 < part['ratio_compute'] < part['ratio_with_publish']


@pytest.mark.ros
@pytest.mark.slow
def test_policy_node_and_echo_answer_as_many_messages(quick: dict[str, Any]) -> None:
    assert set(quick['latency']) == {'200', '500'}
    for part in quick['latency'].values():
        for name in ('policy_node', 'bare_echo'):
            check_summary(part[name])
            assert part[name]['count'] > 20
        assert part['ratio_p50'] == pytest.approx(
            part['policy_node']['p50_us'] / part['bare_echo']['p50_us'])
        assert part['ratio_p99'] > 0.0


@pytest.mark.ros
@pytest.mark.slow
def test_both_tick_equally_often_at_each_rate(quick: dict[str, Any]) -> None:
    assert set(quick['lateness']) == {'50', '200', '500'}
    for rate, part in quick['lateness'].items():
        for name in ('deadline_pacer', 'rclpy_timer'):
            # 2 s for three rates and two variants: a third of a second each.
            assert part[name]['count'] == pytest.approx(int(rate) / 3, abs=1.0)
            assert part[name]['p99_us'] > 0.0
            assert part[name]['missed'] >= 0
        assert part['ratio_p50'] > 0.0
        assert part['ratio_p99_to_timer_p50'] > 0.0


@pytest.mark.ros
@pytest.mark.slow
def test_cpu_is_told_for_a_node_that_ticked_and_an_echo_that_answered(
        quick: dict[str, Any]) -> None:
    cpu = quick['cpu']
    assert 0.0 < cpu['policy_node']['per_cent'] < 400.0
    assert 0.0 < cpu['bare_echo']['per_cent'] < 400.0
    assert cpu['ratio'] == pytest.approx(
        cpu['policy_node']['per_cent'] / cpu['bare_echo']['per_cent'])
    assert 0 < cpu['policy_node']['messages_out'] < cpu['bare_echo']['messages_out']
    assert int(cpu['policy_node_statistics']['ticks']) >= cpu['policy_node']['messages_out']


@pytest.mark.ros
@pytest.mark.slow
def test_machine_and_targets_stand_in_file_and_text(quick: dict[str, Any]) -> None:
    assert quick['machine']['cores'] >= 1
    assert len(quick['machine']['load_average']) == 3
    assert all(quick['machine'][key] for key in ('cpu', 'python', 'numpy', 'onnxruntime'))
    assert quick['settings']['seconds'] == 2.0
    assert len(quick['targets']) == 3 + 2 + 4 + 1
    for target in quick['targets']:
        assert target['met'] == (target['value'] <= target['limit'])
        assert f"{target['what']}: {target['value']:.2f}" in quick['said']
    assert marked_processes('quick') == []


@pytest.mark.ros
@pytest.mark.slow
def test_ctrl_c_ends_every_process_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / 'results.json'
    process = subprocess.Popen(
        [sys.executable, str(TOOL), '--only', 'latency', '--json', str(path)], text=True,
        env=environment(DOMAIN_TO_INTERRUPT, 'interrupt'), stderr=subprocess.PIPE)
    wait_for(lambda: any('policy_node' in line and 'benchmark_echo' not in line
                         for line in marked_processes('interrupt'))
             and len(marked_processes('interrupt')) == 3, 'three processes')
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert 'interrupted' in said
    assert 'Traceback' not in said
    assert marked_processes('interrupt') == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('arguments', 'expected'), [
    (['--only', 'stages,latancy'], "'latancy' (did you mean 'latency'?)"),
    (['--only', ''], "names ''"),
    (['--seconds', '0.1'], '--seconds is 0.1, expected at least 0.5'),
    (['--seconds', 'nan'], '--seconds is nan'),
    (['--policy', '/nowhere/bundle'], 'there is no policy bundle at /nowhere/bundle'),
    (['--json', '/nowhere/results.json'], '/nowhere/results.json cannot be written')])
def test_a_mistake_is_one_sentence_before_anything_is_measured(
        arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ''
    assert said.err.startswith('benchmark: ')
    assert expected in said.err
    assert said.err.count('\n') == 1


def test_summary_is_in_microseconds() -> None:
    durations = [1000 * value for value in range(1, 102)]  # 1 us to 101 us
    assert summarise(durations) == {'count': 101, 'p50_us': 51.0, 'p99_us': 100.0,
                                    'max_us': 101.0}


def test_a_target_is_met_up_to_its_limit_and_named_when_missed() -> None:
    summary = {'count': 4, 'p50_us': 10.0, 'p99_us': 20.0, 'max_us': 30.0}
    results = {
        'latency': {rate: {'policy_node': {**summary, 'lost': 0, 'skipped': 0},
                           'bare_echo': {**summary, 'lost': 2, 'skipped': 0},
                           'ratio_p50': ratio, 'ratio_p99': 3.0}
                    for rate, ratio in (('200', 0.95), ('500', 0.96))},
        'cpu': {'sensor_rate_hz': 500, 'ratio': 0.25,
                'policy_node': {'per_cent': 5.0, 'messages_out': 7},
                'bare_echo': {'per_cent': 20.0, 'messages_out': 70}}}
    targets = judge(results)
    assert [(target.value, target.met) for target in targets] == [
        (0.95, True), (0.96, False), (0.25, True)]
    text = as_text(results, targets)
    assert 'NOT MET latency of the policy node / bare echo, 500 Hz, p50: 0.96' in text
    assert '\nmet     latency of the policy node / bare echo, 200 Hz, p50: 0.95' in text
    assert '2 lost' in text
    assert 'stages' not in text


def test_timer_ticks_are_judged_by_their_grid() -> None:
    # Deadlines at 100, 110, 120, ...; the ones at 120 and 130 get no tick, 140 gets two.
    ticks = TimedTicks(lambda now: None, 10, 5)
    ticks.first_ns = 100
    ticks._woken_ns = [103, 111, 140, 149, 150]
    assert ticks.answer() == ([3, 1, 0, 9, 0], 2)


def test_paced_ticks_do_the_work_once_per_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(benchmark_ticker, 'REHEARSAL_LEAD', 0.001)
    lateness, missed = benchmark_ticker.paced_ticks(
        lambda: done.append('rehearsal'), lambda now: done.append('tick'), 20.0, 3)
    assert done.count('tick') == 3
    assert done.count('rehearsal') <= 3
    assert len(lateness) == 3
    assert min(lateness) >= 0
    assert missed >= 0


class FakeNode:
    """Notes what is published and hands out the callback of the subscription."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []
        self.callback: Any = None
        self.callbacks: dict[str, Any] = {}

    def create_publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        class Publisher:
            def publish(_, message: Any) -> None:  # noqa: N805
                self.published.append((topic, message))
        return Publisher()

    def create_subscription(self, kind: Any, topic: str, callback: Any, qos: Any,
                            raw: bool = False) -> None:
        self.callback = callback
        self.callbacks[topic] = callback

    def create_client(self, kind: Any, name: str) -> None:
        assert name == '/p/policy_node/change_state'


def test_one_request_is_on_its_way_and_only_its_answer_is_timed(bundle: Bundle) -> None:
    node, record = FakeNode(), Record()
    peer = Peer(node, StandingRobot(bundle.contract), 'p')
    peer.record = record
    peer.request()
    peer.request()
    assert [topic for topic, _ in node.published] == ['p/joint_states']
    node.callback(b'answer')
    node.callback(b'not asked for')
    assert (len(record.latencies_ns), record.skipped, record.lost) == (1, 1, 0)
    assert record.latencies_ns[0] > 0
    peer.record = None
    peer.request()
    node.callback(b'answer')
    assert len(record.latencies_ns) == 1
    assert peer.answers == 3
    assert [topic for topic, _ in node.published] == ['p/joint_states'] * 2


def test_an_unanswered_request_is_given_up_as_lost(
        bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('sim2real_policy.offline.benchmark_stream.LOST_AFTER_NS', 0)
    node = FakeNode()
    peer = Peer(node, StandingRobot(bundle.contract), 'p')
    peer.record = Record()
    peer.request()
    peer.request()
    assert (peer.record.lost, peer.record.skipped, len(node.published)) == (1, 0, 2)


def test_commands_that_are_not_the_policys_end_the_measurement() -> None:
    node = FakeNode()
    operator = Operator(node, None, [], 'p')
    tell = node.callbacks['/p/policy_node/state']
    tell(DiagnosticStatus(message='RUN', values=[KeyValue(key='phase', value='RUN')]))
    operator.check()
    tell(DiagnosticStatus(message='FAULT: F102 imu stale',
                          values=[KeyValue(key='phase', value='FAULT')]))
    with pytest.raises(BenchmarkError, match=r'left RUN.* F102 imu stale'):
        operator.check()


def test_robot_stands_in_its_default_pose_and_talks_in_another_order(
        contract_data: dict[str, Any]) -> None:
    contract_data['observation']['terms'].append({'name': 'v', 'function': 'base_lin_vel'})
    contract = parse_contract(contract_data, 'contract.yaml')
    robot = StandingRobot(contract)
    assert robot.joint_state.name == ['ankle', 'knee', 'hip']
    assert list(robot.joint_state.position) == [-0.5, 0.25, 0.125]
    assert robot.others['imu'].orientation.w == 1.0
    assert set(robot.others) == {'imu', 'odometry'}
    assert command_order(contract) == ['hip', 'knee', 'ankle']


def test_stamp_is_the_only_difference_between_two_messages(bundle: Bundle) -> None:
    message = serialized(StandingRobot(bundle.contract).joint_state)
    early, late = message(3_000_000_004), message(5_000_000_006)
    assert len(early) == len(late)
    assert early[4:12] == bytes([3, 0, 0, 0, 4, 0, 0, 0])
    assert late[4:12] == bytes([5, 0, 0, 0, 6, 0, 0, 0])
    assert early[:4] + early[12:] == late[:4] + late[12:]


def test_policy_node_is_told_its_bundle_and_trigger(bundle: Bundle) -> None:
    arguments = node_parameters(bundle, 'joint_states')
    assert f'policy:={bundle.folder}' in arguments
    assert 'trigger:=joint_states' in arguments
    assert 'command_joint_names:=[hip, knee, ankle]' in arguments


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r'benchmark_ticker.*there is no policy bundle'), \
            Process('sim2real_policy.offline.benchmark_ticker', ['timer', '/nowhere'],
                    tmp_path / 'log', answers=True) as process:
        process.ask('50', '2')


def test_a_process_that_ends_badly_is_not_overlooked(tmp_path: Path) -> None:
    process = Process('no_such_module', [], tmp_path / 'log')
    wait_for(lambda: 'No module named' in process.tail(), 'the end of the process')
    with pytest.raises(BenchmarkError, match='no_such_module ended'), process:
        wait_for(lambda: process._process.poll() is not None, 'the end of the process')
    with pytest.raises(BenchmarkError, match='no_such_module ended too early'):
        process.check()


def test_the_chosen_backend_reaches_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """--backend decides what the node and the tick of the benchmark run; auto where not given."""
    bundle = load_bundle(PUP_BUNDLE)
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    assert 'backend:=auto' in node_parameters(bundle, 'timer')
    monkeypatch.setenv(BACKEND_VARIABLE, 'zero')
    assert 'backend:=zero' in node_parameters(bundle, 'timer')
