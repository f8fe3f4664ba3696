"""
Watches the computer that the node runs on, where that is a Jetson.

``tegrastats`` (or jtop) runs as a process of its own. A thread of low priority waits for its
lines and keeps the newest ones; who asks for a report parses them, so that this thread never
holds the interpreter for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
import importlib.util
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import threading
import time

from sim2real_policy.errors import ConfigError, MissingDependencyError
from sim2real_policy.jtop_stats import parse_jtop
from sim2real_policy.tegrastats import BoardReading, parse_tegrastats
from sim2real_policy.throttling import OC_MEANINGS, Throttling, ThrottlingSigns

BOARD_MONITORS = ('auto', 'tegrastats', 'jtop', 'none')  # 'off' is a bool in YAML
HOT = 85.0  # C; some time before a board slows down (an Orin does at 99)
STALE_AFTER = 5.0  # s
JTOP_SOCKET = Path('/run/jtop.sock')
_INTERVAL_MS = 1000
_KEPT_LINES = 16
_MAX_LINE = 8192  # bytes
_SHOWN = 120  # characters of a line that was not understood
_NICENESS = 10
_PATIENCE = 0.5  # s


@dataclass(frozen=True)
class BoardSource:
    """A program that prints one reading per line, and how to read it."""

    name: str
    command: tuple[str, ...]
    parse: Callable[[str], BoardReading | None]


@dataclass(frozen=True)
class BoardReport:
    """What to tell: reasons to worry, and named values."""

    warnings: list[str]
    values: dict[str, object]


class BoardMonitor:
    """Runs one source from :meth:`start` to :meth:`close`."""

    def __init__(self, source: BoardSource, signs: ThrottlingSigns) -> None:
        """
        Note what to run; nothing starts yet.

        :param source: what to run.
        :param signs: where the kernel tells of throttling.
        """
        self._source = source
        self._signs = signs
        self._lines: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._listen, name='board', daemon=True)
        self._ending = ''
        self._throttling: Throttling | None = None
        self._events_at_start: dict[str, int] = {}
        self._reading = BoardReading()
        self._read_at = 0.0
        self._not_understood = 0
        self._stranger = ''

    def start(self) -> None:
        """Start the program; a failure is told in the reports."""
        self._read_at = time.monotonic()
        try:
            # A session of its own: Ctrl-C in the terminal is for the node alone.
            self._process = subprocess.Popen(
                self._source.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            self._ending = f'{self._source.name} could not be started: {error}'
            return
        _lower_priority(self._process.pid)
        self._thread.start()

    def close(self) -> None:
        """End program and thread; harmless when repeated."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process is not None and self._thread.is_alive():
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)
                self._thread.join(_PATIENCE)

    def _listen(self) -> None:
        _lower_priority(threading.get_native_id())
        process = self._process
        assert process is not None and process.stdout is not None
        self._look_at_signs()
        with process.stdout as lines:
            while line := lines.readline(_MAX_LINE):
                self._look_at_signs()
                self._lines.append(line)
        code = process.wait()
        self._ending = f'{self._source.name} ended with exit code {code}'

    def _look_at_signs(self) -> None:
        throttling = self._signs.read()
        if self._throttling is None:
            self._events_at_start = dict(throttling.events)
        self._throttling = throttling

    def report(self) -> BoardReport:
        """Return what is known now, in one thread at a time; waits for nothing."""
        now, throttling = time.monotonic(), self._throttling or Throttling()
        self._parse_new_lines(now)
        values: dict[str, object] = {'source': self._source.name}
        values |= _reading_values(self._reading)
        values |= {'throttled': ', '.join(throttling.slowed) or 'no'}
        values |= {f'{name}_events': count for name, count in throttling.events.items()}
        values |= {'lines_not_understood': self._not_understood}
        if self._stranger:
            values |= {'line_not_understood': self._stranger}
        return BoardReport([*self._own_warnings(now), *self._board_warnings(throttling)], values)

    def _parse_new_lines(self, now: float) -> None:
        while self._lines:
            text = self._lines.popleft().decode('utf-8', 'replace').strip()
            reading = self._source.parse(text)
            if reading is not None:
                self._reading, self._read_at = reading, now
            elif text:
                self._not_understood += 1
                self._stranger = text[:_SHOWN]

    def _own_warnings(self, now: float) -> list[str]:
        if self._ending:
            return [f'{self._ending}{f": {self._stranger}" if self._stranger else ""}']
        if now - self._read_at > STALE_AFTER:
            return [f'no reading from {self._source.name} for {now - self._read_at:.0f} s']
        return []

    def _board_warnings(self, throttling: Throttling) -> list[str]:
        warnings = [f'{name} is {value:.0f} C hot'
                    for name, value in self._reading.temperatures_c.items() if value >= HOT]
        warnings += [f'{name} is slowed down by heat' for name in throttling.slowed]
        for name, count in throttling.events.items():
            more = count - self._events_at_start.get(name, 0)
            if more > 0:
                warnings.append(f'{OC_MEANINGS.get(name, name)} occurred {more} times since '
                                'configure; check supply, cables and power mode')
        return warnings


def make_board_monitor(choice: str) -> BoardMonitor | None:
    """
    Pick what can be watched here.

    :param choice: one of :data:`BOARD_MONITORS`; ``auto`` takes tegrastats, else a jtop whose
        service runs, else nothing.
    :returns: not started; None where there is nothing to watch.
    :raises ConfigError: if tegrastats was asked for and is not there.
    :raises MissingDependencyError: if jtop was asked for and is not there.
    """
    if choice == 'none':
        return None
    program = shutil.which('tegrastats') if choice != 'jtop' else None
    if program is not None:
        command = (program, '--interval', str(_INTERVAL_MS))
        return BoardMonitor(BoardSource('tegrastats', command, parse_tegrastats),
                            ThrottlingSigns())
    if choice == 'tegrastats':
        raise ConfigError("board_monitor is 'tegrastats', but there is no such program on PATH; "
                          'it comes with JetPack. Set board_monitor to auto or none')
    installed = importlib.util.find_spec('jtop') is not None
    if choice == 'jtop' and not installed:
        raise MissingDependencyError('jtop', "for board_monitor 'jtop'",
                                     'sudo pip3 install -U jetson-stats')
    if choice == 'jtop' or (installed and JTOP_SOCKET.exists()):
        command = (sys.executable, '-m', 'sim2real_policy.jtop_stats')
        return BoardMonitor(BoardSource('jtop', command, parse_jtop), ThrottlingSigns())
    return None


def _reading_values(reading: BoardReading) -> dict[str, object]:
    values: dict[str, object] = {
        name: value for name in (
            'gpu_percent', 'gpu_mhz', 'cpu_percent', 'cpu_busiest_percent', 'emc_percent',
            'memory_used_mb', 'memory_total_mb', 'swap_used_mb', 'power_total_mw')
        if (value := getattr(reading, name)) is not None}
    values |= {f'temperature_{name}_c': value for name, value in reading.temperatures_c.items()}
    values |= {f'power_{name.lower()}_mw': value for name, value in reading.powers_mw.items()}
    return values


def _lower_priority(identifier: int) -> None:
    """Let all others go first; a child or thread of a real-time process would inherit that."""
    with suppress(OSError):
        os.sched_setscheduler(identifier, os.SCHED_OTHER, os.sched_param(0))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, identifier, _NICENESS)
