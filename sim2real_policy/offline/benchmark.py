"""
Measure how fast the policy runs on this computer, always against something plain beside it.

Absolute times belong to a computer and to what else it does; ratios carry over. So whatever is
compared is measured by turns, in one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import importlib
import json
import os
from pathlib import Path
import signal
import sys
import tempfile
from types import FrameType
from typing import Any

from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.errors import closest, ConfigError, MissingDependencyError, PolicyError
from sim2real_policy.inference import BACKENDS
from sim2real_policy.offline.benchmark_processes import BACKEND_VARIABLE, isolate
from sim2real_policy.offline.benchmark_report import as_text, judge, machine, targets_as_data
from sim2real_policy.resources import PUP_BUNDLE

PARTS = ('stages', 'latency', 'lateness', 'cpu')
DEFAULT_SECONDS = 30.0
QUICK_SECONDS = 2.0
MIN_SECONDS = 0.5
USER_MISTAKE_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
_INSTALL = {
    'rclpy': 'source /opt/ros/jazzy/setup.bash, or make venv',
    'tqdm': 'pip install tqdm'}
_Measure = Callable[[Bundle, float, Path], dict[str, Any]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='benchmark', description='Measure stages of the tick, latency, lateness and CPU use '
        'of a policy on this computer, against plain rclpy. Let nothing else run meanwhile.')
    parser.add_argument('--policy', type=Path, default=PUP_BUNDLE, metavar='BUNDLE',
                        help='policy bundle (default: that of the simulated robot)')
    parser.add_argument('--backend', default='auto', choices=BACKENDS,
                        help='what runs the network (default: auto)')
    parser.add_argument('--only', default=','.join(PARTS), metavar='PARTS',
                        help=f"some of {','.join(PARTS)}, with commas between")
    parser.add_argument('--seconds', type=float, metavar='N',
                        help=f'about how long to measure, per part (default: {DEFAULT_SECONDS:g})')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all numbers there')
    parser.add_argument('--quick', action='store_true',
                        help=f'{QUICK_SECONDS:g} s per part: tells that it works, no more')
    return parser


def _parts(only: str) -> list[str]:
    """Return the chosen parts in the order of PARTS."""
    chosen = [name.strip() for name in only.split(',')]
    for name in chosen:
        if name not in PARTS:
            raise ConfigError(f"--only names '{name}'{closest(name, PARTS)}, expected some of "
                              f"{','.join(PARTS)}")
    return [name for name in PARTS if name in chosen]


def _seconds(options: argparse.Namespace) -> float:
    seconds: float | None = options.seconds
    if seconds is None:
        return QUICK_SECONDS if options.quick else DEFAULT_SECONDS
    if not MIN_SECONDS <= seconds < float('inf'):
        raise ConfigError(f'--seconds is {seconds:g}, expected at least {MIN_SECONDS:g}')
    return seconds


def _check_output(path: Path | None) -> None:
    """Refuse a place that cannot be written before minutes are spent, not after."""
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise ConfigError(f'--json {path} cannot be written; name a file in a folder that exists '
                          'and that you may write to')


def _measurement(part: str) -> _Measure:
    try:
        module = importlib.import_module(f'sim2real_policy.offline.benchmark_{part}')
    except ImportError as error:
        if error.name in _INSTALL:
            raise MissingDependencyError(error.name, 'to run the benchmark',
                                         _INSTALL[error.name]) from error
        raise
    measure: _Measure = module.measure
    return measure


def _run(options: argparse.Namespace) -> int:
    parts, seconds = _parts(options.only), _seconds(options)
    _check_output(options.json)
    bundle = load_bundle(options.policy)
    measurements = {part: _measurement(part) for part in parts}
    isolate()
    os.environ[BACKEND_VARIABLE] = options.backend
    results: dict[str, Any] = {
        'machine': machine(),
        'settings': {'policy': bundle.contract.name, 'backend': options.backend, 'parts': parts,
                     'seconds': seconds}}
    with tempfile.TemporaryDirectory(prefix='benchmark_') as folder:
        for part, measure in measurements.items():
            results[part] = measure(bundle, seconds, Path(folder))
    targets = judge(results)
    results['targets'] = targets_as_data(targets)
    sys.stdout.write(as_text(results, targets))
    if options.json is not None:
        _write(options.json, results)
    return 0


def _write(path: Path, results: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    partial = path.with_name(f'.{path.name}.partial')
    partial.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    partial.replace(path)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: instead of that of the process.
    :returns: exit code: 0 where all was measured, targets met or not; 2 after one sentence where
        something could not be measured; 130 after Ctrl-C.
    """
    options = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options)
    except PolicyError as error:
        sys.stderr.write(f'benchmark: {error}\n')
        return USER_MISTAKE_EXIT_CODE
    except KeyboardInterrupt:
        sys.stderr.write('benchmark: interrupted; nothing was written\n')
        return INTERRUPTED_EXIT_CODE
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == '__main__':
    sys.exit(main())
