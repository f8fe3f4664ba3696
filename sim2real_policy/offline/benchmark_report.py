"""What was measured, in numbers: summaries, ratios, targets, the machine, and all as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
import importlib.metadata
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np
from numpy.typing import NDArray

Summary = dict[str, float]
Results = Mapping[str, Any]
_MICROSECONDS_PER_NANOSECOND = 1e-3
MAX_TICK_OVER_INFERENCE = 1.6
MAX_LATENCY_OVER_ECHO = 0.95
MAX_LATENESS_OVER_TIMER = 1.0
MAX_CPU_OVER_ECHO = 1.0
NEVER_MISSED_AT_HZ = '200'


@dataclass(frozen=True)
class Target:
    """One thing to reach: ``value`` at most ``limit``."""

    what: str
    value: float
    limit: float
    met: bool


def summarise(durations_ns: Sequence[int] | NDArray[np.int64]) -> Summary:
    """
    Return count, median, 99th percentile and maximum [us].

    :param durations_ns: at least one duration [ns].
    """
    p50, p99, largest = np.percentile(durations_ns, (50.0, 99.0, 100.0)) \
        * _MICROSECONDS_PER_NANOSECOND
    return {'count': len(durations_ns), 'p50_us': float(p50), 'p99_us': float(p99),
            'max_us': float(largest)}


def machine() -> dict[str, Any]:
    """Describe the computer as it is now."""
    return {
        'cpu': _cpu_model(), 'cores': len(os.sched_getaffinity(0)),
        'architecture': platform.machine(), 'kernel': platform.release(),
        'python': platform.python_version(), 'ros_distro': os.environ.get('ROS_DISTRO', ''),
        'rmw': os.environ.get('RMW_IMPLEMENTATION', ''), 'rclpy': _version('rclpy'),
        'numpy': _version('numpy'), 'onnxruntime': _version('onnxruntime'),
        'load_average': list(os.getloadavg())}


def _cpu_model() -> str:
    for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
        key, _, value = line.partition(':')
        if key.strip() in ('model name', 'Model'):
            return value.strip()
    return platform.processor() or 'unknown'


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'


def judge(results: Results) -> list[Target]:
    """
    Compare what was measured with the targets.

    :param results: by part; a part that was not measured has no target.
    """
    return [Target(what, value, limit, value <= limit)
            for what, value, limit in _values(results)]


def _values(results: Results) -> Iterator[tuple[str, float, float]]:
    for pace, stages in results.get('stages', {}).items():
        yield (f'tick compute / inference alone, {pace}, p50', stages['ratio_compute'],
               MAX_TICK_OVER_INFERENCE)
    for rate, latency in results.get('latency', {}).items():
        yield (f'latency of the policy node / bare echo, {rate} Hz, p50', latency['ratio_p50'],
               MAX_LATENCY_OVER_ECHO)
    for rate, lateness in results.get('lateness', {}).items():
        yield (f'lateness of our tick, p99 / rclpy timer, p50, {rate} Hz',
               lateness['ratio_p99_to_timer_p50'], MAX_LATENESS_OVER_TIMER)
        if rate == NEVER_MISSED_AT_HZ:
            yield f'ticks that we missed, {rate} Hz', lateness['deadline_pacer']['missed'], 0
    if 'cpu' in results:
        yield ('CPU use of the policy node / bare echo', results['cpu']['ratio'],
               MAX_CPU_OVER_ECHO)


def targets_as_data(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """
    Return the targets as they stand in the JSON file.

    :param targets: what :func:`judge` returned.
    """
    return [asdict(target) for target in targets]


def as_text(results: Results, targets: Sequence[Target]) -> str:
    """
    Return all tables and the targets.

    :param results: by part.
    :param targets: what :func:`judge` returned.
    """
    parts = [table(results[name]) for name, table in
             (('stages', _stages), ('latency', _latency), ('lateness', _lateness), ('cpu', _cpu))
             if name in results]
    lines = [f"{'met' if target.met else 'NOT MET':<8}{target.what}: {target.value:.2f}, "
             f'at most {target.limit:g}' for target in targets]
    return '\n\n'.join([*parts, '\n'.join(['targets', *lines])]) + '\n'


def _row(name: str, summary: Summary, more: str = '') -> str:
    return (f"  {name:<24}{summary['p50_us']:>10.1f}{summary['p99_us']:>10.1f}"
            f"{summary['max_us']:>10.1f}{summary['count']:>9.0f}{more}").rstrip()


def _heading(text: str) -> str:
    return f"{text}\n  {'us':<24}{'p50':>10}{'p99':>10}{'max':>10}{'count':>9}"


def _stages(stages: Results) -> str:
    lines = []
    for pace, part in stages.items():
        lines += [_heading(f'stages of the tick, {pace}'),
                  *(_row(name, summary) for name, summary in part.items()
                    if isinstance(summary, dict)),
                  f"  compute / inference alone {part['ratio_compute']:.2f}, "
                  f"with publish {part['ratio_with_publish']:.2f}"]
        if 'ratio_compute_to_cold_inference' in part:
            lines[-1] += ('; compute / cold inference alone '
                          f"{part['ratio_compute_to_cold_inference']:.2f}")
    return '\n'.join(lines)


def _latency(latency: Results) -> str:
    lines = []
    for rate, part in latency.items():
        lines += [_heading(f'message in to message out, {rate} Hz'),
                  *(_row(name, part[name], f"  {part[name]['skipped']} skipped, "
                                           f"{part[name]['lost']} lost")
                    for name in ('policy_node', 'bare_echo')),
                  f"  policy node / bare echo: p50 {part['ratio_p50']:.2f}, "
                  f"p99 {part['ratio_p99']:.2f}"]
    return '\n'.join(lines)


def _lateness(lateness: Results) -> str:
    lines = []
    for rate, part in lateness.items():
        lines += [_heading(f'lateness of the tick, {rate} Hz'),
                  *(_row(name, part[name], f"  {part[name]['missed']} missed")
                    for name in ('deadline_pacer', 'rclpy_timer')),
                  f"  ours / rclpy timer: p50 {part['ratio_p50']:.2f}, "
                  f"p99 {part['ratio_p99']:.2f}"]
    return '\n'.join(lines)


def _cpu(cpu: Results) -> str:
    lines = [f"CPU use, {cpu['sensor_rate_hz']:g} Hz sensors, % of a core"]
    lines += [f"  {name:<24}{cpu[name]['per_cent']:>10.1f}{cpu[name]['messages_out']:>9} "
              'messages out' for name in ('policy_node', 'bare_echo')]
    return '\n'.join([*lines, f"  policy node / bare echo {cpu['ratio']:.2f}"])
