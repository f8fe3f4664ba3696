"""
Readings of jtop (jetson-stats), one JSON line a second, for a process of its own.

So its threads stay out of the node, and its licence (AGPL) away from the node's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
import json
import sys
from typing import Any

from sim2real_policy.tegrastats import BoardReading

_INTERVAL = 1.0  # s
_MEBIBYTE = 1024.0  # KiB; jtop counts memory in KiB
_UNPOWERED = -250.0  # C
_FAILURE_EXIT_CODE = 2
_FIELDS = {field.name for field in fields(BoardReading)}


def parse_jtop(line: str) -> BoardReading | None:
    """
    Read one line that :func:`main` printed.

    :param line: as printed.
    :returns: None where it is another line; never raises.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or set(values) != _FIELDS:
        return None
    return BoardReading(**values)


def reading_of(jetson: Any) -> BoardReading:
    """
    Translate what jtop knows.

    :param jetson: a running ``jtop``.
    """
    memory = jetson.memory
    loads = [100.0 - core['idle'] for core in jetson.cpu['cpu'] if core.get('online')]
    gpu: Mapping[str, Any] = next(iter(jetson.gpu.values()), {})
    clock = gpu.get('freq', {}).get('cur')
    power = jetson.power or {}
    return BoardReading(
        memory_used_mb=memory['RAM']['used'] / _MEBIBYTE,
        memory_total_mb=memory['RAM']['tot'] / _MEBIBYTE,
        swap_used_mb=memory['SWAP']['used'] / _MEBIBYTE if 'SWAP' in memory else None,
        cpu_percent=sum(loads) / len(loads) if loads else None,
        cpu_busiest_percent=max(loads, default=None),
        gpu_percent=_number(gpu.get('status', {}).get('load')),
        gpu_mhz=clock / 1000.0 if clock is not None else None,
        emc_percent=_number(memory.get('EMC', {}).get('val')),
        power_total_mw=_number(power.get('tot', {}).get('power')),
        temperatures_c={name.lower(): float(sensor['temp'])
                        for name, sensor in jetson.temperature.items()
                        if sensor['temp'] > _UNPOWERED},
        powers_mw={name: float(rail['power']) for name, rail in power.get('rail', {}).items()})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def main() -> int:
    """Print readings until jtop ends; return 2 where it failed."""
    try:
        from jtop import jtop
        with jtop(interval=_INTERVAL) as jetson:
            while jetson.ok():
                sys.stdout.write(json.dumps(asdict(reading_of(jetson))) + '\n')
                sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  whatever jtop raises: its reason is what counts
        sys.stderr.write(f"jtop: {type(error).__name__}: {' '.join(str(error).split())}\n")
        return _FAILURE_EXIT_CODE
    return 0


if __name__ == '__main__':
    sys.exit(main())
