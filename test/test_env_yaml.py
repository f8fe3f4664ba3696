"""A run's YAML is read with its tuples, slices and names, and nothing in it is ever executed."""

from pathlib import Path
import sys
from typing import Any

import pytest
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.env_yaml import load_training_yaml, PythonTag
from sim2real_policy.offline.fields import bounds, count, flag, number, words

DATA = Path(__file__).parent / 'data'


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / 'env.yaml'
    path.write_text(text, encoding='utf-8')
    return load_training_yaml(path)


def test_tuples_slices_names_and_aliases(tmp_path: Path) -> None:
    data = read(tmp_path, """
scale: !!python/tuple [1.0, 0.5]
empty: !!python/tuple []
ids: !!python/object/apply:builtins.slice
- null
- null
- null
func: &id001 !!python/name:mjlab.envs.mdp.observations.joint_pos_rel ''
again: *id001
escaped: !!python/name:mjlab.entity.entity.%3Clambda%3E ''
""")
    assert data == {
        'scale': (1.0, 0.5), 'empty': (), 'ids': slice(None),
        'func': 'mjlab.envs.mdp.observations.joint_pos_rel',
        'again': 'mjlab.envs.mdp.observations.joint_pos_rel',
        'escaped': 'mjlab.entity.entity.<lambda>'}


def test_the_order_of_the_file_is_kept(tmp_path: Path) -> None:
    assert list(read(tmp_path, 'zebra: 1\nant: 2\nmule: 3\n')) == ['zebra', 'ant', 'mule']


@pytest.mark.parametrize('run', ['pup_run/params/env.yaml', 'pup_run/params/agent.yaml',
                                 'isaaclab/toy_env.yaml'])
def test_files_of_real_trainers_load(run: str) -> None:
    assert isinstance(load_training_yaml(DATA / run), dict)


HOSTILE = [
    "!!python/object/apply:os.system ['touch {}']",
    "!!python/object/apply:subprocess.check_output [['touch', '{}']]",
    "!!python/object/apply:builtins.eval ['open(\"{}\", \"w\")']",
    "!!python/object/new:builtins.open ['{}', 'w']",
    "!!python/object/apply:builtins.open {{args: ['{}', 'w']}}",
    "!!python/object:os.PathLike {{path: '{}'}}",
    "!!python/object/apply:builtins.slice [!!python/object/apply:builtins.open ['{}', 'w'], 1, 2]",
    "!!python/tuple [!!python/object/apply:builtins.open ['{}', 'w']]",
]


@pytest.mark.parametrize('text', HOSTILE)
def test_hostile_tags_run_nothing(tmp_path: Path, text: str) -> None:
    victim = tmp_path / 'victim'
    data = read(tmp_path, 'value: ' + text.format(victim))
    assert not victim.exists()
    assert isinstance(data['value'], (PythonTag, slice, tuple))


def test_hostile_names_import_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'evil_module.py').write_text('raise SystemExit("imported")')
    monkeypatch.syspath_prepend(str(tmp_path))
    data = read(tmp_path, "a: !!python/name:evil_module.function ''\n"
                          "b: !!python/module:evil_module ''\n"
                          'c: !!python/object/apply:evil_module.function []\n')
    assert data['a'] == 'evil_module.function'
    assert data['b'] == PythonTag('module:evil_module', '')
    assert 'evil_module' not in sys.modules


def test_a_python_object_is_refused_only_where_it_is_used(tmp_path: Path) -> None:
    data = read(tmp_path, 'scale: !!python/object/apply:numpy.core.multiarray.scalar [a, b]\n')
    with pytest.raises(ImportRunError, match=r'env.yaml: scale holds the Python object '
                       r"'object/apply:numpy.core.multiarray.scalar'.*expected a finite number"):
        number(data['scale'], 'env.yaml: scale')


@pytest.mark.parametrize(('text', 'reason'), [
    ('a: [1, 2', 'not readable YAML'),
    ('a: !!python/tuple {b: 1}', 'not readable YAML'),
    ('a: &x !!python/tuple [*x]', 'not readable YAML'),
    ('? !!python/object/apply:os.system [true]\n: 1', 'not readable YAML'),
    ('a: ' + '[' * 5000, 'not readable YAML'),
    ('a: 2020-99-99', 'not readable YAML'),
    ('!ruby/object:Gem {}', 'not readable YAML'),
    ('- 1\n- 2', 'holds list, expected a mapping'),
    ('', 'holds NoneType, expected a mapping'),
])
def test_files_that_are_no_run_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ImportRunError, match=reason):
        read(tmp_path, text)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRunError, match='cannot read'):
        load_training_yaml(tmp_path / 'absent.yaml')
    (tmp_path / 'binary.yaml').write_bytes(b'\xff\xfe\x00\x80')
    with pytest.raises(ImportRunError, match='cannot read'):
        load_training_yaml(tmp_path / 'binary.yaml')


def test_fields_have_types() -> None:
    assert number('1e-3', 'x') == 0.001  # YAML reads this as text, because it has no dot
    assert bounds((None, 2), 'x') == (float('-inf'), 2.0)
    assert words('.*', 'x') == ('.*',)
    assert flag({}, 'x', default=True) is True  # the dumper's form of a missing value
    for wrong in (True, 'one', None, float('nan'), float('inf'), [1.0], {}):
        with pytest.raises(ImportRunError, match='expected a finite number'):
            number(wrong, 'x')
    for wrong in ((1.0,), (2.0, 1.0), (float('nan'), 1.0), 3.0, None, ('a', 'b')):
        with pytest.raises(ImportRunError, match='expected a pair'):
            bounds(wrong, 'x')
    for wrong in (-1, 1.0, True, None):
        with pytest.raises(ImportRunError, match='expected a whole number'):
            count(wrong, 'x')
