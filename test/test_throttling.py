"""Throttling is what the alerts and over-current counters of sysfs say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from sim2real_policy.throttling import Throttling, ThrottlingSigns


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Give the files of an AGX Orin that is warm, with a fan, and cool enough to be fast."""
    for number, (kind, state) in enumerate([
            ('pwm-fan', 3), ('hot-surface-alert', 1), ('cpu-throttle-alert', 0),
            ('gpu-throttle-alert', 0), ('cpufreq-cpu0', 2)]):
        folder = tmp_path / f'class/thermal/cooling_device{number}'
        folder.mkdir(parents=True)
        (folder / 'type').write_text(f'{kind}\n')
        (folder / 'cur_state').write_text(f'{state}\n')
    folder = tmp_path / 'class/hwmon/hwmon3'
    folder.mkdir(parents=True)
    for name, count in (('oc1', 0), ('oc2', 8), ('oc3', 813)):
        (folder / f'{name}_event_cnt').write_text(f'{count}\n')
        (folder / f'{name}_throt_en').write_text('1\n')
    return tmp_path


def test_a_fan_and_a_hot_surface_slow_nothing(sysfs: Path) -> None:
    assert ThrottlingSigns(sysfs).read() == Throttling((), {'oc1': 0, 'oc2': 8, 'oc3': 813})


def test_an_alert_that_is_raised_later_is_seen(sysfs: Path) -> None:
    signs = ThrottlingSigns(sysfs)
    (sysfs / 'class/thermal/cooling_device3/cur_state').write_text('1\n')
    assert signs.read().slowed == ('gpu',)


def test_there_is_nothing_on_other_machines(tmp_path: Path) -> None:
    assert ThrottlingSigns(tmp_path).read() == Throttling()


@pytest.mark.parametrize('text', ['', 'N/A', '-1', '1.5', '\xb5', '9' * 5000])
def test_a_file_without_a_number_gives_no_sign(sysfs: Path, text: str) -> None:
    (sysfs / 'class/thermal/cooling_device2/cur_state').write_text(text, encoding='latin-1')
    (sysfs / 'class/hwmon/hwmon3/oc1_event_cnt').write_text(text, encoding='latin-1')
    assert ThrottlingSigns(sysfs).read() == Throttling((), {'oc2': 8, 'oc3': 813})


def test_a_file_that_vanished_gives_no_sign(sysfs: Path) -> None:
    signs = ThrottlingSigns(sysfs)
    (sysfs / 'class/hwmon/hwmon3/oc2_event_cnt').unlink()
    assert signs.read().events == {'oc1': 0, 'oc3': 813}
