"""The processes of the benchmark: started, asked, watched, and ended in order."""

from __future__ import annotations

from collections.abc import Sequence
import json
import os
from pathlib import Path
import random
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any

from sim2real_policy.errors import PolicyError
from sim2real_policy.resources import PACKAGE

STOP_PATIENCE = 10.0  # s
ANSWER_PATIENCE = 60.0  # s
_LOG_TAIL = 10  # lines
_CHUNK = 1 << 16  # bytes
BACKEND_VARIABLE = 'SIM2REAL_POLICY_BENCHMARK_BACKEND'


class BenchmarkError(PolicyError):
    """Raised when a measurement cannot be brought to its end."""


def chosen_backend() -> str:
    """Return what shall run the network; the environment carries it to the other processes."""
    return os.environ.get(BACKEND_VARIABLE, 'auto')


def isolate() -> None:
    """Keep all processes among themselves, unless the user chose a domain."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(random.randint(1, 101)))
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ.setdefault('ROS_LOCALHOST_ONLY', '1')
    else:
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


class Process:
    """A python module in a process and a session of its own; a context that ends with it."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path,
                 answers: bool = False) -> None:
        """
        Start it.

        :param module: what ``python -m`` runs.
        :param arguments: its command line.
        :param log: takes its output; replaced.
        :param answers: True for one that answers lines on its input with lines of JSON on its
            output, and ends where its input does.
        """
        self._module = module
        self._log = log
        self._answers = answers
        self._unread = b''
        paths = [str(PACKAGE.parent), os.environ.get('PYTHONPATH', '')]
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.PIPE if answers else subprocess.DEVNULL,
                stdout=subprocess.PIPE if answers else output, stderr=output,
                env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
                start_new_session=True)

    def __enter__(self) -> Process:
        """Return the process."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """
        End it.

        :raises BenchmarkError: if it did not end well, where nothing else was wrong.
        """
        code = self._stop()
        if code and error is None:
            raise BenchmarkError(f'{self._module} ended with exit code {code}, expected 0; its '
                                 f'last words: {self.tail()}')

    def _stop(self) -> int:
        """Close its input, or interrupt it as Ctrl-C does; kill it where that does not help."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        elif self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()

    def check(self) -> None:
        """
        Look whether it runs.

        :raises BenchmarkError: if it does not.
        """
        code = self._process.poll()
        if code is not None:
            raise BenchmarkError(f'{self._module} ended too early, with exit code {code}; its '
                                 f'last words: {self.tail()}')

    def tail(self) -> str:
        """Return the end of its log in one line."""
        lines = self._log.read_text(encoding='utf-8', errors='replace').splitlines()
        return ' | '.join(line.strip() for line in lines[-_LOG_TAIL:] if line.strip()) or 'none'

    def ask(self, *words: str) -> Any:
        """
        Send a line and return the answer.

        :param words: the line.
        :raises BenchmarkError: if no answer comes.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((' '.join(words) + '\n').encode())
            self._process.stdin.flush()
        except OSError:
            self.check()
            raise BenchmarkError(f'{self._module} no longer listens; its last words: '
                                 f'{self.tail()}') from None
        return json.loads(self._read_line())

    def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        deadline = time.monotonic() + ANSWER_PATIENCE
        while b'\n' not in self._unread:
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(output, _CHUNK) if ready else b''
            if not chunk:
                raise BenchmarkError(
                    f'{self._module} gave no answer within {ANSWER_PATIENCE:g} s or ended; its '
                    f'last words: {self.tail()}')
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b'\n')
        return line

    def cpu_seconds(self) -> float:
        """
        Return the time that all its threads spent on a CPU so far, user and system [s].

        :raises BenchmarkError: if it runs no longer.
        """
        self.check()
        stat = Path(f'/proc/{self._process.pid}/stat').read_text(encoding='utf-8')
        user, system = stat.rpartition(')')[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')
