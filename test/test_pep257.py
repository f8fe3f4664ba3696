"""Rule: docstrings have the form that ROS 2 packages share; ament_pep257 finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.linter
@pytest.mark.pep257
def test_pep257() -> None:
    pep257 = pytest.importorskip(
        'ament_pep257.main', reason='ament_pep257 comes with ROS 2 only; flake8 checks the same')
    folders = [str(ROOT / name) for name in ('sim2real_policy', 'tools', 'launch', 'test')
               if (ROOT / name).exists()]
    assert pep257.main(argv=folders) == 0
