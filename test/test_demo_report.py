"""The demo's table tells what was measured, and its picture and bag can be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')
pytest.importorskip('rosbags', reason='needs rosbags (make venv)')

from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import JointState
from sim2real_policy.simulation.demo_plan import DemoRecord, judge_phases
from sim2real_policy.simulation.demo_report import format_table, save_bag, save_picture

RUN = {'tick_rate_hz': '49.98', 'missed_ticks': '3', 'tick_p50_us': '101.4',
       'tick_p99_us': '222.6', 'tick_max_us': '333'}
RECORD = DemoRecord(velocity=[(0.1 * row, 0.5, 0.0, 0.0, 0.1 * row) for row in range(40)],
                    run=RUN, faults=['F101 gone'], falls=1)


def test_the_table_has_every_number() -> None:
    """Velocities, rate, latencies, missed ticks, largest tilt, faults and falls; - is unknown."""
    table = format_table(RECORD, judge_phases(RECORD))
    rows = {line.rsplit('  ', 1)[0].strip(): line.rsplit('  ', 1)[-1].strip()
            for line in table.splitlines() if line}
    assert rows['tick rate [Hz]'] == '49.98'
    assert rows['missed ticks'] == '3'
    assert rows['faults'] == '1'
    assert rows['falls'] == '1'
    assert rows['largest tilt [deg]'] == '3.9'
    assert '101 / 223 / 333' in table
    assert 'stand                0.00  0.00  0.00               0.50  0.00  0.00' in table
    assert 'NOT FOLLOWED' in table
    assert '- / - / -' in table


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    """Also where the robot never moved."""
    for name, record in (('a.png', RECORD), ('b.png', DemoRecord())):
        save_picture(record, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b'\x89PNG')


def test_the_bag_gives_back_the_messages(tmp_path: Path) -> None:
    """Bytes, times and types are those that came in; an older bag is replaced."""
    state = JointState(name=['a'], position=[0.5], velocity=[0.0], effort=[0.0])
    raw = bytes(serialize_message(state))
    for count in (5, 2):
        save_bag([('/joint_states', 10 * index, raw) for index in range(count)],
                 {'/joint_states': 'sensor_msgs/msg/JointState'}, tmp_path / 'bag')
    assert [path.suffix for path in sorted((tmp_path / 'bag').iterdir())] == ['.mcap', '.yaml']
    with AnyReader([tmp_path / 'bag']) as reader:
        seen = [(time, bytes(data)) for _, time, data in reader.messages()]
        message = reader.deserialize(seen[0][1], 'sensor_msgs/msg/JointState')
    assert seen == [(0, raw), (10, raw)]
    assert message.name == ['a'] and list(message.position) == [0.5]
