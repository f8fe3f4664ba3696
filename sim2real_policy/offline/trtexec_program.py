"""Finds trtexec where JetPack and the packages put it, and asks for its version."""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import re
import shutil
import subprocess

from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_advice import first_error, with_advice
from sim2real_policy.offline.engine_request import Version

DEBIAN_PLACES = ('/usr/src/tensorrt/bin/trtexec', '/usr/bin/trtexec')
_BANNER = re.compile(r'\[TensorRT v(\d+)\](?: \[b(\d+)\])?')
_ANSWER_TIME = 60.0  # s; on a board the first start loads a gigabyte of libraries


def find_trtexec(option: Path | None, environment: Mapping[str, str] = os.environ,
                 places: tuple[str, ...] = DEBIAN_PLACES) -> Path | None:
    """
    Return the first trtexec there is, or None.

    Looked at in this order: the option, ``$TRTEXEC``, the path, the places of the Debian
    packages (not on the path on a Jetson), ``$TensorRT_ROOT/bin``.

    :param option: what the user named.
    :param environment: of the process.
    :param places: of the Debian packages.
    :raises EngineError: if one was named that is not there.
    """
    named = option or (Path(environment['TRTEXEC']) if environment.get('TRTEXEC') else None)
    if named is not None:
        if not _runs(named):
            raise EngineError(f'{named} is no program, expected trtexec; correct --trtexec or '
                              'the variable TRTEXEC')
        return named.absolute()
    on_path = shutil.which('trtexec', path=environment.get('PATH', os.defpath))
    root = environment.get('TensorRT_ROOT', '')
    candidates = [*([on_path] if on_path else []), *places,
                  *([f'{root}/bin/trtexec'] if root else [])]
    return next((Path(place) for place in candidates if _runs(Path(place))), None)


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def ask_version(trtexec: Path) -> Version:
    """
    Return the version of a trtexec, such as (10, 3, 0), with the build number where it tells.

    :param trtexec: the program. It has no option for this, but its help begins with it.
    :raises EngineError: if it does not start, or says something else.
    """
    try:
        answer = subprocess.run([str(trtexec), '--help'], capture_output=True, text=True,
                                check=False, timeout=_ANSWER_TIME, errors='replace')
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f'{trtexec} cannot be run: {error}; install TensorRT again '
                          '(on a Jetson: sudo apt install --reinstall libnvinfer-bin)') from None
    text = answer.stdout + answer.stderr
    version = parse_banner(text)
    if version is None:
        said = first_error(text.splitlines()) or ' '.join(text.split())[:120] or 'nothing'
        raise EngineError(with_advice(f'{trtexec} --help does not tell its version, but: {said}',
                                      text))
    return version


def parse_banner(text: str) -> Version | None:
    """
    Read ``[TensorRT v8502]`` (8.5.2), ``v100300`` (10.3.0) or ``v101602] [b10`` (10.16.2.10).

    :param text: what trtexec printed.
    """
    found = _BANNER.search(text)
    if found is None:
        return None
    # 1000 x major + 100 x minor + patch up to TensorRT 9, 10000 x major from 10 on.
    number = int(found[1])
    major, rest = divmod(number, 1_000 if number < 10_000 else 10_000)
    minor, patch = divmod(rest, 100)
    build = (int(found[2]),) if found[2] else ()
    return (major, minor, patch, *build)


def parse_version(text: str) -> Version:
    """
    Read a version that a person typed, such as '10.3'.

    :param text: numbers with dots.
    :raises EngineError: if it is something else.
    """
    if not re.fullmatch(r'\d+(\.\d+){0,3}', text):
        raise EngineError(f"the TensorRT version is '{text}', expected numbers such as 10.3")
    return tuple(int(part) for part in text.split('.'))
