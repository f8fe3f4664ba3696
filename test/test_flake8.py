"""Rule: the code has the form that ROS 2 packages share; flake8 finds nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ['flake8', 'flake8_builtins', 'flake8_comprehensions', 'flake8_docstrings',
           'flake8_import_order', 'flake8_quotes']


@pytest.mark.flake8
@pytest.mark.linter
def test_flake8() -> None:
    missing = [name for name in PLUGINS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f'{missing} not installed; requirements/test.txt or ament_flake8 brings them')
    folders = [name for name in ('sim2real_policy', 'tools', 'launch', 'test', 'setup.py')
               if (ROOT / name).exists()]
    result = subprocess.run([sys.executable, '-m', 'flake8', *folders], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
