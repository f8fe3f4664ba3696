"""The package finds its own files wherever it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sim2real_policy import resources
from sim2real_policy.errors import ConfigError


def test_the_clone_has_its_config() -> None:
    """In a clone, or installed from it, config/pup.yaml is found."""
    assert 'ros__parameters' in resources.config_file('pup.yaml').read_text()


def test_the_bundle_of_the_demo_ships_with_the_package() -> None:
    """All three files of the Pup's bundle are there."""
    assert sorted(path.name for path in resources.PUP_BUNDLE.iterdir()) == [
        'contract.yaml', 'golden.npz', 'policy.onnx']


def test_an_installed_package_finds_the_share_folder(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As colcon and pip lay it out: lib/.../sim2real_policy and share/sim2real_policy."""
    share = tmp_path / 'share' / 'sim2real_policy' / 'config'
    share.mkdir(parents=True)
    (share / 'robot.yaml').write_text('x')
    monkeypatch.setattr(resources, 'PACKAGE',
                        tmp_path / 'lib' / 'python3' / 'site-packages' / 'sim2real_policy')
    assert resources.config_file('robot.yaml') == share / 'robot.yaml'
    monkeypatch.setattr(resources, 'PACKAGE', Path('/nowhere/sim2real_policy'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/opt/other:{tmp_path}')
    assert resources.config_file('robot.yaml') == share / 'robot.yaml'


def test_a_missing_file_is_told_with_the_places() -> None:
    """The sentence names where it was looked for."""
    with pytest.raises(ConfigError, match=r'config/robot9\.yaml was not found in'):
        resources.config_file('robot9.yaml')
