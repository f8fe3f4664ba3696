"""Rule: docs/parameters.md says what the node declares, and a check tells when it does not."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sim2real_policy.messages import COMMAND_INTERFACES
from sim2real_policy.parameters import SPECS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'parameters.md'


@pytest.fixture(name='docs', scope='module')
def _docs() -> ModuleType:
    path = ROOT / 'tools' / 'make_parameter_docs.py'
    spec = importlib.util.spec_from_file_location('make_parameter_docs', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date(docs: ModuleType) -> None:
    assert PAGE.read_text(encoding='utf-8') == docs.make_page(), \
        'run tools/make_parameter_docs.py'


def test_check_refuses_a_missing_and_an_old_page_and_changes_nothing(
        docs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / 'new' / 'parameters.md'
    assert docs.main(['--check', '--page', str(page)]) == 1
    assert not page.exists()
    assert docs.main(['--page', str(page)]) == 0
    assert docs.main(['--check', '--page', str(page)]) == 0
    old = page.read_text(encoding='utf-8').replace('0.05 to pi', '0.06 to pi')
    page.write_text(old, encoding='utf-8')
    capsys.readouterr()
    assert docs.main(['--check', '--page', str(page)]) == 1
    assert page.read_text(encoding='utf-8') == old
    assert capsys.readouterr().err == \
        f'{page} is out of date; run tools/make_parameter_docs.py\n'


def test_a_new_default_makes_the_page_out_of_date(
        docs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = docs.make_page()
    monkeypatch.setitem(SPECS, 'max_rejected', type(SPECS['max_rejected'])(
        3, 'Refused samples in a row that an input survives.', 0, 100))
    assert [line for line in docs.make_page().splitlines() if line not in before] == [
        '| `max_rejected` | int | `3` | 0 to 100 '
        '| Refused samples in a row that an input survives. |']


def test_page_has_one_row_of_five_columns_per_parameter(docs: ModuleType) -> None:
    rows = [line for line in docs.make_page().split('## Topics')[0].splitlines()
            if line.startswith('| `')]
    assert [row.split('`')[1] for row in rows] == list(SPECS)
    assert {row.count('|') for row in rows} == {6}
    assert rows[list(SPECS).index('trigger_every')] == (
        '| `trigger_every` | int | `1` | 1 to 1000 '
        '| With trigger joint_states: a tick at every n-th message. |')


def test_tables_written_by_hand_name_every_topic_and_interface(docs: ModuleType) -> None:
    tables = docs.make_page().split('## Topics')[1]
    topics = [spec.default for name, spec in SPECS.items() if name.startswith('topics.')]
    assert len(topics) == 5
    assert [name for name in (*topics, *COMMAND_INTERFACES) if f'| `{name}` |' not in tables] == []


@pytest.mark.parametrize(('value', 'text', 'kind'), [
    ('', 'none', 'string'), ('auto', '`auto`', 'string'), (True, '`true`', 'bool'),
    (2, '`2`', 'int'), (2.0, '`2.0`', 'double'), (1.0471976, '`1.047`', 'double'),
    ([''], 'none', 'string array'), ([math.nan], 'none', 'double array'),
    ([0.0, 0.5], '`[0, 0.5]`', 'double array')])
def test_defaults_are_written_as_a_person_would(docs: ModuleType, value: Any, text: str,
                                                kind: str) -> None:
    assert docs.format_value(value) == text
    assert docs.type_name(value) == kind
