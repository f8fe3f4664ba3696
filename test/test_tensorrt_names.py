"""
Rule: every name of TensorRT that the code uses exists in the versions it is meant for.

The tables in data/tensorrt_names were read off the real modules of TensorRT 8.6 to 11.4 (see
tools/make_tensorrt_tables.py). A name that some version lacks stands behind ``hasattr``, and then
at least one version must have it. Keywords and the number of arguments are compared, too.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLES = {path.stem: json.loads(path.read_text())
          for path in sorted((ROOT / 'test' / 'data' / 'tensorrt_names').glob('*.json'))}
MODULE = 'trt'
# Which objects of TensorRT the variables of a file hold; a leading underscore does not count.
OBJECTS = {
    'sim2real_policy/offline/engine_api.py': {
        'builder': 'Builder', 'network': 'INetworkDefinition', 'parser': 'OnnxParser',
        'config': 'IBuilderConfig', 'profile': 'IOptimizationProfile', 'error': 'ParserError'},
    'sim2real_policy/offline/engine_tools.py': {},
    'sim2real_policy/tensorrt_network.py': {
        'runtime': 'Runtime', 'engine': 'ICudaEngine', 'context': 'IExecutionContext'},
    'sim2real_policy/tensorrt_runner.py': {},
}
THERE = [path for path in OBJECTS if (ROOT / path).is_file()]


@dataclass(frozen=True)
class Use:
    """A member of a class of TensorRT, or of the module (``owner`` ''), as the code uses it."""

    owner: str
    name: str
    guarded: bool = False
    keywords: tuple[str, ...] = ()
    arguments: int = 0

    def missing_in(self, table: dict[str, Any]) -> str:
        """Tell what is wrong with it in one version, or ''."""
        if not self.owner:
            return '' if self.name in table['module'] else f'no {self.name}'
        if self.owner not in table['classes']:
            return f'no class {self.owner} in the table'
        members = table['classes'][self.owner]
        if self.name not in members:
            return f'{self.owner} has no {self.name}'
        wrong = sorted(set(self.keywords) - set(members[self.name] or ()))
        if wrong:
            return f'{self.owner}.{self.name} has no parameter {wrong}'
        if self.arguments + len(self.keywords) > len(members[self.name] or ()):
            return f'{self.owner}.{self.name} takes fewer arguments than {self.arguments}'
        return ''


class Collector(ast.NodeVisitor):
    """Collects the uses in one file."""

    def __init__(self, objects: dict[str, str]) -> None:
        self.found: list[Use] = []
        self._objects = objects
        self._aliases: dict[str, str] = {}
        self._guards: set[tuple[str, str]] = set()
        self._calls: dict[int, ast.Call] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._aliases, self._guards
        self._aliases, self._guards = dict(outer[0]), set(outer[1])
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                owner = self._owner(inner.value)
                if owner:
                    self._aliases[inner.targets[0].id] = owner
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) \
                    and inner.func.id == 'hasattr':
                owner, name = self._owner(inner.args[0]), inner.args[1]
                if owner is not None and isinstance(name, ast.Constant):
                    self._guards.add((owner, str(name.value)))
                    self.found.append(Use(owner, str(name.value), guarded=True))
        self.generic_visit(node)
        self._aliases, self._guards = outer

    def visit_Call(self, node: ast.Call) -> None:
        self._calls[id(node.func)] = node
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self._owner(node.value)
        if owner is not None and not node.attr.startswith('_'):
            call = self._calls.get(id(node))
            use_of = (owner, node.attr) if owner or call is None else (node.attr, '__init__')
            if not owner:
                self.found.append(Use('', node.attr))
            self.found.append(Use(
                *use_of, guarded=(owner, node.attr) in self._guards,
                keywords=tuple(key.arg or '' for key in call.keywords) if call else (),
                arguments=len(call.args) if call else 0))
        self.generic_visit(node)

    def _owner(self, node: ast.expr) -> str | None:
        """Return '' for the module, the class of an object of TensorRT, or None."""
        if isinstance(node, ast.Name):
            if node.id == MODULE:
                return ''
            return self._aliases.get(node.id) or self._objects.get(node.id.lstrip('_'))
        if not isinstance(node, ast.Attribute):
            return None
        if isinstance(node.value, ast.Name) and node.value.id == 'self':
            return self._objects.get(node.attr.lstrip('_'))
        owner = self._owner(node.value)
        if owner is None:
            return None
        return f'{owner}.{node.attr}' if owner else node.attr


def uses_in(source: str, objects: dict[str, str]) -> list[Use]:
    collector = Collector(objects)
    collector.visit(ast.parse(source))
    return collector.found


def mistakes(uses: list[Use]) -> list[str]:
    """Return one line per use and version that does not fit."""
    wrong = []
    for use in uses:
        missing = {version: use.missing_in(table) for version, table in TABLES.items()}
        missing = {version: what for version, what in missing.items() if what}
        if use.guarded and len(missing) < len(TABLES):
            continue
        wrong += [f'{version}: {what}' for version, what in missing.items()]
    return wrong


def test_the_tables_are_of_the_versions_we_speak_of() -> None:
    assert set(TABLES) == {'8.6.1', '10.3.0', '10.13.3.9', '10.16.1.11', '11.4.0.106'}


@pytest.mark.parametrize('path', THERE)
def test_every_name_that_the_code_uses_is_in_every_version(path: str) -> None:
    assert mistakes(uses_in((ROOT / path).read_text(encoding='utf-8'), OBJECTS[path])) == []


def test_no_other_file_uses_the_module() -> None:
    speakers = set()
    for path in [*ROOT.glob('sim2real_policy/**/*.py'), *ROOT.glob('tools/*.py')]:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        if any(isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
               and node.value.id == MODULE for node in ast.walk(tree)):
            speakers.add(str(path.relative_to(ROOT)))
    assert speakers <= set(OBJECTS)


@pytest.mark.parametrize(('path', 'use'), [
    ('sim2real_policy/offline/engine_api.py', ('Builder', 'build_serialized_network')),
    ('sim2real_policy/offline/engine_api.py', ('BuilderFlag', 'FP16')),
    ('sim2real_policy/offline/engine_api.py', ('MemoryPoolType', 'WORKSPACE')),
    ('sim2real_policy/offline/engine_api.py', ('IOptimizationProfile', 'set_shape')),
    ('sim2real_policy/tensorrt_network.py', ('ILogger.Severity', 'VERBOSE')),
    ('sim2real_policy/tensorrt_network.py', ('Runtime', 'deserialize_cuda_engine')),
    ('sim2real_policy/tensorrt_network.py', ('IExecutionContext', 'execute_async_v3')),
    ('sim2real_policy/tensorrt_network.py', ('ICudaEngine', 'num_io_tensors')),
])
def test_what_is_looked_for_is_found(path: str, use: tuple[str, str]) -> None:
    if path not in THERE:
        pytest.skip(f'there is no {path} yet')
    found = uses_in((ROOT / path).read_text(encoding='utf-8'), OBJECTS[path])
    assert use in [(one.owner, one.name) for one in found]


@pytest.mark.parametrize(('body', 'complaint'), [
    ('builder.build_engine(n, c)', ['10.13.3.9: Builder has no build_engine',
                                    '10.16.1.11: Builder has no build_engine',
                                    '10.3.0: Builder has no build_engine',
                                    '11.4.0.106: Builder has no build_engine']),
    ('config.set_flag(trt.BuilderFlag.FP16)', ['11.4.0.106: BuilderFlag has no FP16']),
    ('flag = trt.BuilderFlag\n    flag.FP16', ['11.4.0.106: BuilderFlag has no FP16']),
    ('if hasattr(trt.BuilderFlag, "FP16"):\n        trt.BuilderFlag.FP16', []),
    ('if hasattr(trt.BuilderFlag, "FP61"):\n        trt.BuilderFlag.FP61', 'FP61'),
    ('trt.IInt8EntropyCalibrator2', ['11.4.0.106: no IInt8EntropyCalibrator2']),
    ('trt.Builder(logger, 1)', 'Builder.__init__ takes fewer'),
    ('self._engine.num_bindings', 'ICudaEngine has no num_bindings'),
    ('engine.create_execution_context(strategy=s)',
     ["8.6.1: ICudaEngine.create_execution_context has no parameter ['strategy']"]),
    ('engine.get_tensor_name(index=0)', []),
    ('engine.get_tensor_name(i, 0)', 'takes fewer arguments'),
    ('trt.ILogger.Severity.ERROR', []),
    ('trt.ILogger.Severity.FATAL', 'ILogger.Severity has no FATAL'),
    ('other.anything(x=1)', []),
])
def test_a_wrong_name_is_found(body: str, complaint: list[str] | str) -> None:
    objects = {'builder': 'Builder', 'config': 'IBuilderConfig', 'engine': 'ICudaEngine'}
    found = mistakes(uses_in(f'def f(self, trt):\n    {body}\n', objects))
    if isinstance(complaint, list):
        assert sorted(set(found)) == complaint
    else:
        assert any(complaint in line for line in found)
        assert len(set(found)) >= len(TABLES) - 1
