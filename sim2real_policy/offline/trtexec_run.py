"""Runs trtexec, shows that it is alive, and says why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import subprocess

from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_advice import first_error, with_advice
from sim2real_policy.offline.engine_progress import Progress

_PATIENCE = 10.0  # s, for trtexec to end after it was asked to
_LAST_LINES = 40


def run_trtexec(command: Sequence[str], plan: Path, progress: Progress) -> None:
    """
    Build an engine.

    :param command: from ``compose_command``.
    :param plan: the engine that it writes.
    :param progress: takes its output, line by line.
    :raises EngineError: with the first error it named, and advice.
    """
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors='replace')
    except OSError as error:
        raise EngineError(f'{command[0]} cannot be run: {error}; install TensorRT again') from None
    assert process.stdout is not None
    try:
        with process.stdout:
            for line in process.stdout:
                progress.add(line.rstrip())
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code == 0 and plan.is_file() and plan.stat().st_size:
        return
    cause = first_error(progress.lines)
    ending = f'signal {-code}' if code < 0 else f'exit code {code}'
    said = cause or f'no error but {ending}' + ('' if code else ' and no engine')
    raise EngineError(with_advice(f'trtexec could not build the engine: {said}',
                                  '\n'.join([cause, *progress.lines[-_LAST_LINES:]])))


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
