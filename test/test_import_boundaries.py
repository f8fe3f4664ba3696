"""Rule: data flows one way, and the core knows neither ROS, nor CUDA, nor a clock."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
import subprocess
import sys

import pytest

PACKAGE = 'sim2real_policy'
FOLDER = Path(__file__).resolve().parents[1] / PACKAGE

CORE = ['errors', 'contract', 'bundle', 'joints', 'rotations', 'faults', 'state', 'observation',
        'inference', 'action', 'command', 'limits', 'monitors', 'safety', 'pipeline']
# A module imports only modules above it; those in ROSLESS reach no ROS module at all.
ROSLESS = [*CORE, 'onnx_runner', 'engine_sidecar', 'engine_file', 'cuda_device',
           'tensorrt_network', 'tensorrt_runner', 'backend_selection', 'tegrastats', 'jtop_stats',
           'throttling', 'board_monitor', 'pacing', 'resources']
ORDER = [*ROSLESS, 'decoding', 'messages', 'diagnostics', 'inbox', 'rehearsal', 'command_output',
         'control_loop', 'supervisor', 'parameters', 'report', 'spinning', 'policy_node']
# Two arrows that point back: a runner is loaded when it is picked, and types are only named.
IN_A_FUNCTION = {('inference', 'backend_selection')}
FOR_TYPES_ALONE = {('report', 'policy_node')}

SPEAKS_ROS = {'decoding', 'messages', 'diagnostics', 'inbox', 'command_output', 'control_loop',
              'parameters', 'report', 'spinning', 'policy_node'}
BEYOND_NUMPY = {'contract': {'pydantic', 'yaml'}}
CLOCKS = {'time', 'datetime'}
ENGINES = {'onnxruntime', 'tensorrt', 'pycuda', 'torch'}
# tensorrt_network picks TensorRT's module by name; the test without any engine covers it.
ENGINE_OF = {'onnx_runner': {'onnxruntime'}, 'cuda_device': {'pycuda'}}
ROS = {'rclpy', 'rosidl_runtime_py', 'builtin_interfaces', 'rcl_interfaces', 'launch',
       'launch_ros', 'ament_index_python'}


@dataclass(frozen=True)
class Import:
    """One imported module, and where the statement stands."""

    name: str
    in_function: bool
    for_types: bool

    @property
    def library(self) -> str:
        return self.name.split('.')[0]


def names_of(node: ast.AST) -> list[str]:
    """Give the modules that a statement imports; of our own package, each one by its full name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f'line {node.lineno}: a relative import'
        assert node.module is not None
        if node.module == PACKAGE:
            return [f'{PACKAGE}.{alias.name}' for alias in node.names]
        return [node.module]
    return []


def walk(node: ast.AST, in_function: bool = False, for_types: bool = False) -> list[Import]:
    """Collect the imports below a node."""
    found = [Import(name, in_function, for_types) for name in names_of(node)]
    in_function |= isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for_types |= isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
    for child in ast.iter_child_nodes(node):
        found += walk(child, in_function, for_types)
    return found


def imports_of(module: str) -> list[Import]:
    return walk(ast.parse((FOLDER / f'{module}.py').read_text(encoding='utf-8')))


def is_ros(library: str) -> bool:
    return library in ROS or library.endswith(('_msgs', '_srvs'))


def test_imports_are_found_wherever_they_stand() -> None:
    source = ('import a.b\nfrom c import d\nfrom sim2real_policy import e\n'
              'if TYPE_CHECKING:\n    import f\n'
              'class K:\n    def m(self):\n        try:\n            import g\n'
              '        finally:\n            pass\n')
    assert walk(ast.parse(source)) == [
        Import('a.b', False, False), Import('c', False, False),
        Import('sim2real_policy.e', False, False), Import('f', False, True),
        Import('g', True, False)]


def test_every_module_has_its_place_in_the_order() -> None:
    there = {path.stem for path in FOLDER.glob('*.py')} - {'__init__'}
    assert there == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize('module', ORDER)
def test_module_imports_only_modules_above_it(module: str) -> None:
    above = set(ORDER[:ORDER.index(module)])
    for item in imports_of(module):
        if item.library != PACKAGE or item.name == PACKAGE:
            continue
        imported = item.name.split('.')[1]
        if (module, imported) in IN_A_FUNCTION:
            assert item.in_function
        elif (module, imported) in FOR_TYPES_ALONE:
            assert item.for_types
        else:
            assert imported in above, f'{module} imports {item.name}'


def test_the_exceptions_are_still_needed() -> None:
    for module, imported in IN_A_FUNCTION | FOR_TYPES_ALONE:
        assert f'{PACKAGE}.{imported}' in [item.name for item in imports_of(module)]


@pytest.mark.parametrize('module', CORE)
def test_core_imports_numpy_and_the_standard_library_and_no_clock(module: str) -> None:
    libraries = {item.library for item in imports_of(module)} - {PACKAGE}
    foreign = {library for library in libraries if library not in sys.stdlib_module_names}
    assert foreign <= {'numpy'} | BEYOND_NUMPY.get(module, set())
    assert not libraries & CLOCKS


@pytest.mark.parametrize('module', ORDER)
def test_ros_is_spoken_only_at_the_border(module: str) -> None:
    ros = {item.name for item in imports_of(module) if is_ros(item.library)}
    assert not ros or module in SPEAKS_ROS, f'{module} imports {sorted(ros)}'


def test_the_border_is_not_wider_than_needed() -> None:
    speakers = {module for module in ORDER
                if any(is_ros(item.library) for item in imports_of(module))}
    assert speakers <= SPEAKS_ROS
    assert {'policy_node', 'decoding', 'messages'} <= speakers


@pytest.mark.parametrize('module', ORDER)
def test_engines_are_imported_by_their_own_runner_alone_and_late(module: str) -> None:
    for item in imports_of(module):
        if item.library in ENGINES:
            assert item.library in ENGINE_OF.get(module, set()), f'{module}: {item.name}'
            assert item.in_function, f'{module} imports {item.name} when it is loaded'


@pytest.mark.parametrize('module', ORDER)
def test_what_runs_on_the_robot_needs_neither_tools_nor_simulation(module: str) -> None:
    parts = [item.name for item in imports_of(module)
             if item.name.startswith((f'{PACKAGE}.offline', f'{PACKAGE}.simulation'))]
    assert parts == []


BLOCK = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}:
            raise ImportError(name + ' is blocked')
        return None


sys.meta_path.insert(0, Blocker())
"""


def python_without(blocked: set[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter in which some libraries cannot be imported."""
    return subprocess.run([sys.executable, '-c', BLOCK.format(blocked=sorted(blocked)) + code],
                          cwd=FOLDER.parent, capture_output=True, text=True, check=False)


def test_all_below_ros_is_imported_where_neither_ros_nor_any_engine_is_installed() -> None:
    modules = ', '.join(f'{PACKAGE}.{module}' for module in ROSLESS)
    result = python_without({'rclpy', 'sensor_msgs', 'std_msgs', 'jtop', *ENGINES},
                            f'import {modules}')
    assert (result.returncode, result.stderr) == (0, '')


def test_the_block_does_block() -> None:
    result = python_without({'rclpy'}, f'import {PACKAGE}.spinning')
    assert result.returncode == 1
    assert 'ImportError: rclpy is blocked' in result.stderr


def test_missing_pydantic_is_named_with_the_command_that_installs_it() -> None:
    result = python_without({'pydantic'}, f'import {PACKAGE}.contract')
    assert result.returncode == 1
    assert 'MissingDependencyError: pydantic 2 is not installed; it is needed to read ' \
        "contract.yaml. Install it with: pip install 'pydantic>=2'" in result.stderr
