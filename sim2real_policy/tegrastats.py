"""
What a Jetson tells of itself, read from the lines of ``tegrastats``.

The lines of JetPack 5, 6 and 7 differ: names in upper or lower case, SWAP absent, a GPU without
load, one to three clocks, temperatures and powers with an average and a maximum behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import re

_RAM = re.compile(r'\bRAM (\d{1,8})/(\d{1,8})MB')
_SWAP = re.compile(r'\bSWAP (\d{1,8})/\d{1,8}MB')
_CPU = re.compile(r'\bCPU \[([^\]]{1,999})\]')
_LOAD = re.compile(r'(\d{1,3})%')
_GPU = re.compile(r'\bGR3D2?_FREQ (?:(\d{1,3})%)?(?:@\[?([\d,]{1,99}))?')
_CLOCK = re.compile(r'\d{1,6}')
_EMC = re.compile(r'\bEMC_FREQ (\d{1,3})%')
_TEMPERATURE = re.compile(r'\b(\w{1,40})@(-?\d{1,4}(?:\.\d{1,6})?)C\b', re.ASCII)
_POWER = re.compile(r'\b([A-Z]\w{0,39}) (\d{1,7})mW/', re.ASCII)
_UNPOWERED = -250.0  # C; a sensor that is switched off reads -256
_NOT_CONNECTED = 'NC'
_ALL_POWER = (('VDD_IN',), ('VIN',), ('VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0'))


@dataclass(frozen=True)
class BoardReading:
    """
    One look at the board; None and empty where it did not tell.

    ``cpu_percent`` is the mean of the cores that are on, ``cpu_busiest_percent`` the highest of
    them, ``gpu_mhz`` the highest clock. Temperatures [C] have lower-case names, powers [mW] the
    names of their rails. ``power_total_mw`` is what the whole board takes.
    """

    memory_used_mb: float | None = None
    memory_total_mb: float | None = None
    swap_used_mb: float | None = None
    cpu_percent: float | None = None
    cpu_busiest_percent: float | None = None
    gpu_percent: float | None = None
    gpu_mhz: float | None = None
    emc_percent: float | None = None
    power_total_mw: float | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    powers_mw: Mapping[str, float] = field(default_factory=dict)


def parse_tegrastats(line: str) -> BoardReading | None:
    """
    Read one line.

    :param line: as printed.
    :returns: None where it is no line of tegrastats; never raises.
    """
    memory = _RAM.search(line)
    if memory is None:
        return None
    cpu = _CPU.search(line)
    loads = [float(load) for load in _LOAD.findall(cpu[1])] if cpu else []
    gpu = _GPU.search(line)
    clocks = [float(clock) for clock in _CLOCK.findall(gpu[2] or '')] if gpu else []
    powers = {name: float(power) for name, power in _POWER.findall(line)
              if name != _NOT_CONNECTED}
    return BoardReading(
        memory_used_mb=float(memory[1]), memory_total_mb=float(memory[2]),
        swap_used_mb=_first_number(_SWAP, line),
        cpu_percent=sum(loads) / len(loads) if loads else None,
        cpu_busiest_percent=max(loads, default=None),
        gpu_percent=_first_number(_GPU, line), gpu_mhz=max(clocks, default=None),
        emc_percent=_first_number(_EMC, line), power_total_mw=total_power(powers),
        temperatures_c={name.lower(): float(value) for name, value in _TEMPERATURE.findall(line)
                        if float(value) > _UNPOWERED},
        powers_mw=powers)


def total_power(powers: Mapping[str, float]) -> float | None:
    """
    Return what the whole board takes [mW], None where its rails do not tell.

    :param powers: power of each rail [mW], by name. Orin NX and Nano and Xavier NX measure the
        total as VDD_IN, Thor as VIN; on an AGX Orin it is the sum of three rails.
    """
    for rails in _ALL_POWER:
        if all(rail in powers for rail in rails):
            return sum(powers[rail] for rail in rails)
    return None


def _first_number(pattern: re.Pattern[str], line: str) -> float | None:
    match = pattern.search(line)
    return float(match[1]) if match and match[1] else None
