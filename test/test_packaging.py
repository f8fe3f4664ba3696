"""Rule: the files that describe the package agree with each other and with what is there."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
import setuptools
import sim2real_policy

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'sim2real_policy'
ROSDEP_KEYS = {'numpy': 'python3-numpy', 'pyyaml': 'python3-yaml', 'pydantic': 'python3-pydantic'}
COMPARE = ROOT / 'tools' / 'compare_test_counts.py'


@pytest.fixture(name='setup')
def _setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give the arguments with which setup.py calls setuptools."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **arguments: seen.update(arguments))
    monkeypatch.chdir(ROOT)
    path = ROOT / 'setup.py'
    exec(compile(path.read_text(encoding='utf-8'), str(path), 'exec'), {'__file__': str(path)})
    return seen


@pytest.fixture(name='manifest')
def _manifest() -> ElementTree.Element:
    """Give the root of package.xml."""
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def requirements(name: str) -> set[str]:
    """Give the lines of one requirements file, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith('#')}


def names(lines: set[str] | list[str]) -> set[str]:
    """Strip versions and extras: 'ros-rclpy[fastrtps]==7.1.6' is ros-rclpy."""
    return {re.split(r'[\[<>=!~ ;]', line)[0].lower() for line in lines}


def tracked_files() -> list[Path]:
    """Give every file that git tracks and that is there."""
    try:
        listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True,
                                text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('this is not a git checkout, so there is no list of tracked files')
    return [ROOT / name for name in listed.split('\0') if name and (ROOT / name).is_file()]


def test_version_is_the_same_everywhere(setup: dict[str, Any],
                                        manifest: ElementTree.Element) -> None:
    version = sim2real_policy.__version__
    assert re.fullmatch(r'\d+\.\d+\.\d+', version)
    assert setup['version'] == version
    assert manifest.findtext('version') == version
    assert f'## [{version}]' in (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')


def test_name_maintainer_license_and_description_are_the_same(
        setup: dict[str, Any], manifest: ElementTree.Element) -> None:
    maintainer = manifest.find('maintainer')
    assert maintainer is not None
    assert setup['name'] == manifest.findtext('name') == PACKAGE
    assert setup['maintainer'] == maintainer.text
    assert setup['maintainer_email'] == maintainer.get('email')
    assert setup['license'] == manifest.findtext('license') == 'Apache-2.0'
    assert setup['description'] == manifest.findtext('description')


def test_package_xml_has_the_form_that_ros_expects(manifest: ElementTree.Element) -> None:
    package = pytest.importorskip('catkin_pkg.package', reason='catkin_pkg is not installed')
    warnings: list[str] = []
    parsed = package.parse_package(str(ROOT), warnings=warnings)
    assert warnings == []
    assert parsed.get_build_type() == 'ament_python'
    assert manifest.get('format') == '3'


def test_requirements_are_those_of_setup_py(setup: dict[str, Any]) -> None:
    extras = setup['extras_require']
    assert requirements('base') == set(setup['install_requires'])
    assert names(requirements('demo')) == names(extras['demo'])
    assert names(extras['onnxruntime']) <= names(requirements('demo'))
    assert names(extras['export']) == names(requirements('export')) - {'setuptools'} | {
        'onnxruntime'}
    assert names(extras['test']) <= names(requirements('test'))
    assert extras['tensorrt'] == ['pycuda']


def test_package_xml_names_what_setup_py_requires(setup: dict[str, Any],
                                                  manifest: ElementTree.Element) -> None:
    keys = {element.text for element in manifest.findall('exec_depend')}
    assert {ROSDEP_KEYS[name] for name in names(setup['install_requires'])} <= keys


def test_wheels_of_ros_are_dependencies_in_package_xml(manifest: ElementTree.Element) -> None:
    keys = {element.text for element in manifest.findall('exec_depend')}
    wheels = {name[len('ros-'):].replace('-', '_') for name in names(requirements('ros'))}
    assert wheels <= keys
    assert all('==' in line for line in requirements('ros'))


def test_imported_ros_packages_are_dependencies_in_package_xml(
        manifest: ElementTree.Element) -> None:
    ros = r'^\s*(?:from|import) (rclpy|launch|launch_ros|ament_index_python|\w+_(?:msgs|srvs))\b'
    sources = [*(ROOT / PACKAGE).rglob('*.py'), *(ROOT / 'launch').glob('*.py')]
    imported = {name for path in sources
                for name in re.findall(ros, path.read_text(encoding='utf-8'), re.MULTILINE)}
    # rclpy's own messages come with rclpy.
    known = {element.text for element in manifest.findall('exec_depend')} | {'rcl_interfaces'}
    assert imported <= known


def test_console_scripts_lead_to_a_main_function(setup: dict[str, Any]) -> None:
    scripts = setup['entry_points']['console_scripts']
    assert {script.split(' = ')[0] for script in scripts} >= {'policy_node', 'sim_robot_node'}
    for script in scripts:
        module, function = script.split(' = ')[1].split(':')
        path = ROOT / (module.replace('.', '/') + '.py')
        assert path.is_file(), f'{script}: {path} does not exist'
        assert re.search(rf'^def {function}\(', path.read_text(encoding='utf-8'), re.MULTILINE), \
            f'{script}: {path} defines no {function}()'


def test_ros2_run_finds_the_programs_where_setup_cfg_puts_them() -> None:
    text = (ROOT / 'setup.cfg').read_text(encoding='utf-8')
    assert f'script_dir=$base/lib/{PACKAGE}' in text
    assert f'install_scripts=$base/lib/{PACKAGE}' in text
    assert (ROOT / 'resource' / PACKAGE).is_file()


def test_every_launch_and_config_file_is_installed(setup: dict[str, Any]) -> None:
    installed = {name for _, files in setup['data_files'] for name in files}
    there = {str(path.relative_to(ROOT)) for folder in ('launch', 'config')
             for path in (ROOT / folder).rglob('*')
             if path.is_file() and '__pycache__' not in path.parts}
    assert there <= installed
    assert {'package.xml', f'resource/{PACKAGE}'} <= installed
    assert all((ROOT / name).is_file() for name in installed)


def test_every_tracked_file_of_the_package_is_installed(setup: dict[str, Any]) -> None:
    folders = {name.replace('.', '/') for name in setup['packages']}
    patterns = [f"{name.replace('.', '/')}/{pattern}"
                for name, some in setup['package_data'].items() for pattern in some]
    for path in tracked_files():
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(f'{PACKAGE}/'):
            continue
        if name.endswith('.py'):
            assert path.parent.relative_to(ROOT).as_posix() in folders, f'{name}: no __init__.py'
        else:
            fits = [item for item in patterns
                    if fnmatch(name, item) and item.count('/') == name.count('/')]
            assert fits, f'{name} is in no package_data'


def test_tests_and_tools_are_not_installed(setup: dict[str, Any]) -> None:
    assert {name.split('.')[0] for name in setup['packages']} == {PACKAGE}


def test_ci_runs_make_test() -> None:
    path = ROOT / '.ci' / 'run'
    text = path.read_text(encoding='utf-8')
    assert text.rstrip().endswith('exec make test')
    assert path.stat().st_mode & 0o111
    assert re.search(r'^test:', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.MULTILINE)


def test_license_is_the_full_apache_text() -> None:
    text = (ROOT / 'LICENSE').read_text(encoding='utf-8')
    assert 'Apache License\n                           Version 2.0, January 2004' in text
    assert 'APPENDIX: How to apply the Apache License to your work.' in text


def test_tracked_files_name_no_package_index_and_no_home_folder() -> None:
    private = re.compile(r'pypi\.org|python[h]osted|extra-inde[x]|/(?:home|Users)/\w|/roo[t]/')
    found = [f'{path.relative_to(ROOT)}: {match.group()}' for path in tracked_files()
             for match in private.finditer(path.read_text(encoding='utf-8', errors='ignore'))]
    assert found == []


def compare(*reports: Path) -> subprocess.CompletedProcess[str]:
    """Run the comparison of two test reports."""
    return subprocess.run([sys.executable, str(COMPARE), *map(str, reports)],
                          capture_output=True, text=True, check=False)


@pytest.mark.parametrize(('first', 'second', 'code'), [(3, 3, 0), (3, 2, 2), (0, 0, 2)])
def test_test_reports_must_have_the_same_count_and_not_zero(
        tmp_path: Path, first: int, second: int, code: int) -> None:
    reports = [tmp_path / 'first.xml', tmp_path / 'second.xml']
    for report, tests in zip(reports, (first, second), strict=True):
        report.write_text(f'<testsuites><testsuite tests="{tests}"/></testsuites>')
    result = compare(*reports)
    assert result.returncode == code
    assert ('both reports have 3 tests' in result.stdout) == (code == 0)


def test_missing_test_report_is_refused_in_one_sentence(tmp_path: Path) -> None:
    result = compare(tmp_path / 'none.xml', tmp_path / 'none.xml')
    assert result.returncode == 2
    assert result.stderr.count('\n') == 1
    assert 'none.xml is not a test report' in result.stderr
