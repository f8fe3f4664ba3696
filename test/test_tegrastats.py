"""One line of tegrastats becomes readings, whatever the JetPack; no line raises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from sim2real_policy.tegrastats import BoardReading, parse_tegrastats, total_power
from tegrastats_lines import (
    AGX_ORIN_5,
    AGX_ORIN_6,
    AGX_ORIN_7,
    ORIN_NANO_6,
    THOR_7,
    XAVIER_NX_5,
)

EXPECTED = {
    'Xavier NX, JetPack 5': (XAVIER_NX_5, BoardReading(
        memory_used_mb=3168, memory_total_mb=6851, swap_used_mb=161,
        cpu_percent=17, cpu_busiest_percent=23, gpu_percent=0, gpu_mhz=114, emc_percent=2,
        power_total_mw=2763,
        temperatures_c={'aux': 45, 'cpu': 46.5, 'thermal': 45.6, 'ao': 45, 'gpu': 45.5,
                        'pmic': 50},
        powers_mw={'VDD_IN': 2763, 'VDD_CPU_GPU_CV': 650, 'VDD_SOC': 650})),
    'AGX Orin, JetPack 5': (AGX_ORIN_5, BoardReading(
        memory_used_mb=4321, memory_total_mb=62801, swap_used_mb=19,
        cpu_percent=0, cpu_busiest_percent=0, gpu_percent=0, gpu_mhz=0, emc_percent=0,
        power_total_mw=2340 + 390 + 4025,
        temperatures_c={'cpu': 44.562, 'tboard': 32, 'soc2': 40.093, 'tdiode': 33, 'tj': 44.343},
        powers_mw={'VDD_GPU_SOC': 2340, 'VDD_CPU_CV': 390, 'VIN_SYS_5V0': 4025,
                   'VDDQ_VDD2_1V8AO': 301})),
    'AGX Orin, JetPack 6': (AGX_ORIN_6, BoardReading(
        memory_used_mb=18207, memory_total_mb=62841, swap_used_mb=86,
        cpu_percent=9.5, cpu_busiest_percent=14, gpu_percent=0, gpu_mhz=0, emc_percent=3,
        power_total_mw=2412 + 1607 + 4707,
        temperatures_c={'cpu': 52.562, 'soc2': 48.437, 'soc0': 49.093, 'tj': 52.562,
                        'soc1': 49.656},
        powers_mw={'VDD_GPU_SOC': 2412, 'VDD_CPU_CV': 1607, 'VIN_SYS_5V0': 4707})),
    'Orin Nano, JetPack 6': (ORIN_NANO_6, BoardReading(
        memory_used_mb=6982, memory_total_mb=7620, swap_used_mb=2640,
        cpu_percent=97, cpu_busiest_percent=97, gpu_percent=84, gpu_mhz=713, emc_percent=18,
        power_total_mw=17946,
        temperatures_c={'cv0': 63.031, 'cpu': 65.562, 'gpu': 63.5, 'tj': 65.562},
        powers_mw={'VDD_IN': 17946, 'VDD_CPU_GPU_CV': 8896, 'VDD_SOC': 3923})),
    'AGX Orin, JetPack 7': (AGX_ORIN_7, BoardReading(
        memory_used_mb=20642, memory_total_mb=62817, swap_used_mb=None,
        cpu_percent=23, cpu_busiest_percent=23, gpu_percent=12, gpu_mhz=1300, emc_percent=3,
        power_total_mw=5139 + 3268 + 5500,
        temperatures_c={'cpu': 52.968, 'soc2': 48.406, 'soc0': 49.531, 'gpu': 47.625},
        powers_mw={'VDD_GPU_SOC': 5139, 'VDD_CPU_CV': 3268, 'VIN_SYS_5V0': 5500})),
    'Thor, JetPack 7': (THOR_7, BoardReading(
        memory_used_mb=3429, memory_total_mb=125749, swap_used_mb=None,
        cpu_percent=2.5, cpu_busiest_percent=5, gpu_percent=None, gpu_mhz=1574, emc_percent=None,
        power_total_mw=28906, temperatures_c={'cpu': 49.75, 'tj': 51.218, 'gpu': 51.218},
        powers_mw={'VDD_GPU': 6330, 'VIN': 28906}))}
LINES = [line for line, _ in EXPECTED.values()]


@pytest.mark.parametrize('name', EXPECTED)
def test_real_lines(name: str) -> None:
    line, expected = EXPECTED[name]
    assert parse_tegrastats(line) == expected


@pytest.mark.parametrize(('words', 'load', 'clock'), [
    ('GR3D_FREQ 0%', 0, None),  # not root
    ('GR3D_FREQ 10%@1300', 10, 1300),
    ('GR3D_FREQ 87%@[1574,1575,1573]', 87, 1575),
    ('GR3D2_FREQ 7%@[612]', 7, 612),
    ('GR3D_FREQ @[,]', None, None),
    ('', None, None)])
def test_every_form_of_the_gpu(words: str, load: float | None, clock: float | None) -> None:
    reading = parse_tegrastats(f'RAM 1/2MB {words} VIC off')
    assert reading is not None
    assert (reading.gpu_percent, reading.gpu_mhz) == (load, clock)


def test_thor_under_load_names_a_sensor_of_three_blocks() -> None:
    reading = parse_tegrastats('RAM 1/2MB EMC_FREQ 34%@4266 NVENC0_FREQ @1691 '
                               'soc012@55.375C/58.781C')
    assert reading is not None
    assert reading.emc_percent == 34
    assert reading.temperatures_c == {'soc012': 55.375}


@pytest.mark.parametrize('line', [
    '', 'tegrastats: command not permitted', 'RAM', 'RAM 12/', 'RAM x/yMB', '\x00\xff',
    'RAM ' + '9' * 5000 + '/1MB'])
def test_what_is_no_line_of_tegrastats_gives_nothing(line: str) -> None:
    assert parse_tegrastats(line) is None


def test_a_line_that_breaks_off_gives_what_it_has() -> None:
    reading = parse_tegrastats('RAM 3168/6851MB (lfb 2x4MB) SWAP 161/34')
    assert reading == BoardReading(memory_used_mb=3168, memory_total_mb=6851)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    parse_tegrastats(text)
    parse_tegrastats('RAM 1/2MB ' + text)


@settings(max_examples=300)
@given(st.sampled_from(LINES), st.integers(0, 400), st.integers(0, 40), st.text(max_size=8))
def test_no_damaged_line_raises(line: str, start: int, length: int, instead: str) -> None:
    parse_tegrastats(line[:start] + instead + line[start + length:])


def test_total_power_is_not_guessed() -> None:
    """An AGX Xavier has six rails and none that measures all of them."""
    assert total_power({'GPU': 100, 'CPU': 310, 'SOC': 1240}) is None
    assert total_power({}) is None
