"""Rule: the code has the form that ROS 2 packages share; ament_flake8 finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ['sim2real_policy', 'tools', 'launch', 'test', 'setup.py']


@pytest.mark.flake8
@pytest.mark.linter
def test_flake8() -> None:
    flake8 = pytest.importorskip(
        'ament_flake8.main', reason='ament_flake8 comes with ROS 2 only; ruff checks the same')
    code, errors = flake8.main_with_errors(argv=[str(ROOT / name) for name in FOLDERS])
    assert code == 0, f'{len(errors)} errors:\n' + '\n'.join(errors)
