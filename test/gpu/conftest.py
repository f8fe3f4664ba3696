"""
What the tests on a GPU share. Without a GPU, or without pycuda, all of them are skipped.

Where TensorRT is installed they run on it, else on the stand-in beside this file; no test knows.
"""

from __future__ import annotations

from collections.abc import Callable
import importlib
import importlib.util
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

STANDIN = Path(__file__).parent / 'standin'
ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope='session')
def cuda() -> Any:
    """Give pycuda's driver module, initialised."""
    driver = pytest.importorskip('pycuda.driver', reason='pycuda is not installed, or finds no '
                                 'driver', exc_type=ImportError)
    try:
        driver.init()
        driver.Device(0)
    except driver.Error as error:
        pytest.skip(f'there is no NVIDIA GPU: {error}')
    return driver


@pytest.fixture(scope='session')
def trt(cuda: Any) -> Any:
    """Give TensorRT, or what stands in for it."""
    if importlib.util.find_spec('tensorrt') is None:
        sys.path.insert(0, str(STANDIN))
    return importlib.import_module('tensorrt')


@pytest.fixture(scope='session')
def make_engine(trt: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Give a function that makes a bundle with one engine: (bundle, plan), once per kind."""
    import engines
    import policies
    made: dict[str, Any] = {}

    def make(precision: str = 'fp32', **kind: Any) -> Any:
        key = repr((precision, sorted(kind.items(), key=str)))
        if key not in made:
            bundle = policies.make_bundle(tmp_path_factory.mktemp('gpu') / 'bundle', **kind)
            made[key] = bundle, engines.build(trt, bundle, precision=precision)
        return made[key]
    return make


@pytest.fixture(scope='session')
def in_new_process(trt: Any, make_engine: Callable[..., Any]) \
        -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Give a function that runs code in a new Python, where ``bundle`` and ``plan`` are there."""
    bundle, plan = make_engine()
    start = ('from pathlib import Path\n'
             'from sim2real_policy.bundle import load_bundle\n'
             'from sim2real_policy.tensorrt_runner import TensorRTRunner\n'
             f'bundle, plan = load_bundle(Path({str(bundle.folder)!r})), Path({str(plan)!r})\n')
    paths = [str(ROOT), str(Path(trt.__file__).parents[1]), os.environ.get('PYTHONPATH', '')]

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-W', 'always', '-c', start + code], capture_output=True, text=True,
            check=False, timeout=120, env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)})
    return run
