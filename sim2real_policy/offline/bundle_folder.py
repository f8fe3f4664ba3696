"""Puts a bundle into place whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil

from sim2real_policy.contract import CONTRACT_FILE
from sim2real_policy.errors import ImportRunError


def check_output(output: Path, force: bool) -> None:
    """
    Refuse an output that must not be replaced.

    :param output: where the bundle shall be.
    :param force: whether an older bundle may be replaced.
    :raises ImportRunError: if something else is there, or a bundle without ``force``.
    """
    if output.is_dir() and not any(output.iterdir()):
        return
    if not output.exists() and not output.is_symlink():
        return
    if output.is_symlink() or not (output / CONTRACT_FILE).is_file():
        raise ImportRunError(f'{output} exists and is not a policy bundle, expected a free path; '
                             'choose another one')
    if not force:
        raise ImportRunError(f'{output} exists, expected a free path; choose another one, or '
                             'replace the bundle with --force, engines included')


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """
    Give a temporary sibling folder and rename it to the output if all went well.

    :param output: where the folder shall be; what is there is replaced.
    :raises ImportRunError: if the place cannot be written.
    """
    partial = output.with_name(f'.{output.name}.partial-{os.getpid()}')
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        _replace(partial, output)
    except OSError as error:
        raise ImportRunError(f'cannot write {output}: {error}; expected a place with room that '
                             'this user may write. Choose another one') from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(new: Path, output: Path) -> None:
    old = output.with_name(f'.{output.name}.old-{os.getpid()}')
    if not output.exists():
        new.rename(output)
        return
    output.rename(old)
    try:
        new.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old)
