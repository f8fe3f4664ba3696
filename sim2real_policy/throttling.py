"""Signs in Linux's sysfs that a Jetson runs slower than asked: too hot, or too little power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import os
from pathlib import Path
import re

SYSFS = Path('/sys')
OC_MEANINGS = {'oc1': 'under-voltage', 'oc2': 'average over-current',
               'oc3': 'over-current'}
_ALERT = 'throttle-alert'  # not hot-surface-alert, which warns of burnt fingers and slows nothing
_MAX_BYTES = 64
_COUNTER = re.compile(r'(oc\d+)_event_cnt')


@dataclass(frozen=True)
class Throttling:
    """Which parts are slowed down by heat now, and how often power failed since boot."""

    slowed: tuple[str, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)


class ThrottlingSigns:
    """Knows the files; reading them may take a while, so it is done in a thread of its own."""

    def __init__(self, sysfs: Path = SYSFS) -> None:
        """
        Find the files; there are none on machines other than a Jetson.

        :param sysfs: where sysfs is mounted.
        """
        self._alerts: list[tuple[str, str]] = []
        for device in sorted(sysfs.glob('class/thermal/cooling_device*')):
            kind = _read(str(device / 'type'))
            if kind is not None and kind.endswith(_ALERT):
                self._alerts.append((kind.removesuffix(f'-{_ALERT}'), str(device / 'cur_state')))
        self._counters: list[tuple[str, str]] = []
        for path in sorted(sysfs.glob('class/hwmon/hwmon*/oc*_event_cnt')):
            match = _COUNTER.fullmatch(path.name)
            if match is not None:
                self._counters.append((match[1], str(path)))

    def read(self) -> Throttling:
        """Return the signs; a file that cannot be read gives none."""
        return Throttling(
            tuple(name for name, path in self._alerts if (_read_count(path) or 0) > 0),
            {name: count for name, path in self._counters
             if (count := _read_count(path)) is not None})


def _read(path: str) -> str | None:
    try:
        file = os.open(path, os.O_RDONLY)  # a third of the time of Path.read_text
        try:
            return os.read(file, _MAX_BYTES).decode('ascii').strip()
        finally:
            os.close(file)
    except (OSError, UnicodeDecodeError):
        return None


def _read_count(path: str) -> int | None:
    text = _read(path)
    return int(text) if text is not None and re.fullmatch(r'\d{1,18}', text) else None
