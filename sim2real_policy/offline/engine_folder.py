"""Puts an engine and its note into a bundle: both or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil

from sim2real_policy.engine_file import ENGINES_FOLDER
from sim2real_policy.engine_sidecar import PLAN_SUFFIX, sidecar_path
from sim2real_policy.errors import EngineError


def engine_path(bundle_folder: Path, name: str) -> Path:
    """
    Return where an engine of this name belongs.

    :param bundle_folder: the bundle.
    :param name: without its ending.
    :raises EngineError: if it is no name for a file.
    """
    if not name or name != Path(name).name or name.startswith('.'):
        raise EngineError(f"the engine's name is '{name}', expected a plain file name without "
                          "folder, such as 'walk-fp16'")
    return bundle_folder / ENGINES_FOLDER / f'{name}{PLAN_SUFFIX}'


@contextmanager
def whole_engine(plan: Path) -> Iterator[Path]:
    """
    Give a path in a temporary folder; what is written there replaces an older pair at the end.

    The context writes the engine at that path and its note beside it. If it leaves with an
    error, or writes neither, the older pair stays.

    :param plan: where the engine shall be.
    :raises EngineError: if the place cannot be written.
    """
    partial = plan.parent / f'.{plan.stem}.partial-{os.getpid()}'
    try:
        partial.mkdir(parents=True)
        yield partial / plan.name
        if (partial / plan.name).is_file():
            _exchange([(partial / plan.name, plan),
                       (sidecar_path(partial / plan.name), sidecar_path(plan))])
    except OSError as error:
        raise EngineError(f'cannot write {plan}: {error}; expected a place with room that this '
                          'user may write. Correct that and build again') from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(pairs: list[tuple[Path, Path]]) -> None:
    done: list[tuple[Path, Path | None]] = []
    try:
        for new, place in pairs:
            kept = None
            if place.exists():
                kept = new.with_name(f'{place.name}.old')
                place.rename(kept)
            done.append((place, kept))
            new.rename(place)
    except OSError:
        for place, kept in done:
            place.unlink(missing_ok=True)
            if kept is not None:
                kept.rename(place)
        raise
