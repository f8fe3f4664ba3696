"""Rule: a fault has a code of the table, and reads as one line."""

from __future__ import annotations

import re

import pytest
from sim2real_policy.faults import Fault, FAULT_TITLES


def test_codes_are_f_and_three_digits_in_order_with_a_title_each() -> None:
    assert all(re.fullmatch(r'F\d{3}', code) and title for code, title in FAULT_TITLES.items())
    assert list(FAULT_TITLES) == sorted(FAULT_TITLES)


def test_fault_reads_as_code_and_message() -> None:
    assert str(Fault('F303', 'the base is tilted')) == 'F303 the base is tilted'


def test_code_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match='unknown fault code F999'):
        Fault('F999', 'what?')
