"""Rule: docstrings have the form that ROS 2 packages share; ament_pep257 finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ['sim2real_policy', 'tools', 'launch', 'test', 'setup.py']


@pytest.mark.linter
@pytest.mark.pep257
def test_pep257() -> None:
    pep257 = pytest.importorskip(
        'ament_pep257.main', reason='ament_pep257 comes with ROS 2 only; ruff checks the same')
    assert pep257.main(argv=[str(ROOT / name) for name in FOLDERS]) == 0
