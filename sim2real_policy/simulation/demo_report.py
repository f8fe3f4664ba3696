"""The demo's table, picture and bag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import shutil
from typing import Any

import numpy as np
from sim2real_policy.errors import MissingDependencyError
from sim2real_policy.simulation.demo_plan import DemoRecord, PhaseResult, PHASES

BagMessage = tuple[str, int, bytes]  # topic, arrival [ns since the epoch], serialized message
_RUN_ROWS = (
    ('tick rate [Hz]', 'tick_rate_hz'),
    ('tick jitter (lateness) p50 / p99 / max [us]', 'lateness'),
    ('tick compute p50 / p99 / max [us]', 'tick'),
    ('sensor stamp to command p50 / p99 / max [us]', 'sensor_to_command'),
    ('missed ticks', 'missed_ticks'),
)


def format_table(record: DemoRecord, results: Sequence[PhaseResult]) -> str:
    """
    Return the table that the demo prints.

    :param record: what was seen.
    :param results: the phases.
    """
    lines = ['phase      commanded vx    vy    wz     measured vx    vy    wz  [m/s, rad/s]']
    for result in results:
        asked = ' '.join(f'{value:5.2f}' for value in result.phase.command)
        seen = ' '.join(f'{value:5.2f}' for value in result.measured)
        lines.append(f'{result.phase.name:<10}          {asked}              {seen}   '
                     f'{"ok" if result.followed else "NOT FOLLOWED"}')
    lines.append('')
    for title, key in _RUN_ROWS:
        lines.append(f'{title:<46} {_run_value(record, key)}')
    tilt = max((row[4] for row in record.velocity), default=float('nan'))
    lines.append(f'{"largest tilt [deg]":<46} {tilt:.1f}')
    lines.append(f'{"faults":<46} {len(record.faults)}')
    lines.append(f'{"falls":<46} {record.falls}')
    return '\n'.join(lines)


def _run_value(record: DemoRecord, key: str) -> str:
    if key in record.run:
        return f'{float(record.run[key]):.6g}'
    values = [record.run.get(f'{key}_{name}_us') for name in ('p50', 'p99', 'max')]
    return ' / '.join('-' if value is None else f'{float(value):.0f}' for value in values)


def save_picture(record: DemoRecord, path: Path) -> None:
    """
    Draw commanded and measured velocity over time.

    :param record: what was seen.
    :param path: the PNG; it is replaced.
    :raises MissingDependencyError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError('matplotlib', 'to draw the demo',
                                     'pip install matplotlib') from error
    figure = Figure(figsize=(10, 8), layout='constrained')
    axes: Any = figure.subplots(4, 1, sharex=True)
    rows = np.array(record.velocity).reshape(-1, 5)
    edges = np.cumsum([0.0, *(phase.duration for phase in PHASES)])
    titles = ('vx [m/s]', 'vy [m/s]', 'wz [rad/s]')
    for index, title in enumerate(titles):
        levels = [phase.command[index] for phase in PHASES]
        axes[index].plot(rows[:, 0], rows[:, index + 1], linewidth=0.8, label='measured')
        axes[index].stairs(levels, edges, color='black', linestyle='--', label='commanded')
        axes[index].set_ylabel(title)
    axes[0].legend(loc='upper right')
    axes[3].plot(rows[:, 0], rows[:, 4], linewidth=0.8)
    axes[3].set_ylabel('tilt [deg]')
    axes[3].set_xlabel('time [s]')
    for phase, begin in zip(PHASES, edges, strict=False):
        axes[0].text(begin, axes[0].get_ylim()[1], phase.name, va='bottom')
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def save_bag(messages: Sequence[BagMessage], types: dict[str, str], path: Path) -> None:
    """
    Write a rosbag2 folder with one mcap file.

    :param messages: in the order of their arrival.
    :param types: message type per topic, such as ``sensor_msgs/msg/Imu``.
    :param path: the folder; it is replaced.
    :raises MissingDependencyError: if rosbags is not installed.
    """
    try:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import get_typestore, Stores
    except ImportError as error:
        raise MissingDependencyError('rosbags', 'to write the bag of the demo',
                                     'pip install rosbags') from error
    shutil.rmtree(path, ignore_errors=True)
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=store)
                       for topic, kind in types.items()}
        for topic, arrival_ns, raw in messages:
            writer.write(connections[topic], arrival_ns, raw)
