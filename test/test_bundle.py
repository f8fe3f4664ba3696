"""Rule: a bundle is loaded only if all its files are there, whole, and belong together."""

from __future__ import annotations

from collections.abc import Callable
import io
from pathlib import Path
import random
from typing import Any

import numpy as np
import pytest
from sim2real_policy.bundle import Golden, load_bundle, load_golden, sha256_of
from sim2real_policy.contract import load_contract, PolicyContract, save_contract
from sim2real_policy.errors import BundleError, ContractError

ARRAYS = list(Golden.__dataclass_fields__)


@pytest.fixture
def golden_file(tmp_path: Path, contract: PolicyContract, identity_weight: Any,
                save_golden: Callable[..., None]) -> Path:
    path = tmp_path / 'golden.npz'
    save_golden(path, contract, identity_weight)
    return path


def test_whole_bundle_is_loaded(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    assert bundle.folder == bundle_folder
    assert bundle.contract == load_contract(bundle_folder / 'contract.yaml')
    assert bundle.onnx_path == bundle_folder / 'policy.onnx'
    assert bundle.golden.observations.shape == (5, 18)
    assert bundle.golden.actions.shape == (5, 3)
    assert bundle.golden.chain_quaternion_xyzw.shape == (4, 4)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / 'abc').write_bytes(b'abc')
    assert sha256_of(tmp_path / 'abc') == \
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r'there is no policy bundle at .*/none; expected'):
        load_bundle(tmp_path / 'none')


@pytest.mark.parametrize(('name', 'text'), [
    ('contract.yaml', 'has no contract.yaml; it is not a policy bundle'),
    ('policy.onnx', 'policy.onnx is missing; copy the whole bundle'),
    ('golden.npz', 'golden.npz is missing; without it nobody can tell')])
def test_missing_file_is_refused(bundle_folder: Path, name: str, text: str) -> None:
    (bundle_folder / name).unlink()
    with pytest.raises(BundleError, match=text):
        load_bundle(bundle_folder)


def test_wrong_contract_is_refused_as_such(bundle_folder: Path) -> None:
    (bundle_folder / 'contract.yaml').write_text('schema_version: 1')
    with pytest.raises(ContractError):
        load_bundle(bundle_folder)


def test_exchanged_network_is_refused_with_both_hashes(bundle_folder: Path) -> None:
    wanted = sha256_of(bundle_folder / 'policy.onnx')[:12]
    (bundle_folder / 'policy.onnx').write_bytes(b'abc')
    with pytest.raises(BundleError, match=f'SHA-256 ba7816bf8f01.*written for {wanted}'):
        load_bundle(bundle_folder)


def test_pointer_of_git_lfs_is_named(bundle_folder: Path) -> None:
    (bundle_folder / 'policy.onnx').write_text('version https://git-lfs.github.com/spec/v1\n')
    with pytest.raises(BundleError, match='is a Git LFS pointer, not a network; run: git lfs'):
        load_bundle(bundle_folder)


@pytest.mark.parametrize('name', ['../policy.onnx', 'engines/../policy.onnx', './policy.onnx',
                                  '/policy.onnx', '.'])
def test_network_outside_the_bundle_is_refused(
        bundle_folder: Path, contract_data: dict[str, Any], name: str) -> None:
    (bundle_folder.parent / 'policy.onnx').write_bytes(
        (bundle_folder / 'policy.onnx').read_bytes())
    contract = load_contract(bundle_folder / 'contract.yaml')
    save_contract(contract.model_copy(update={
        'network': contract.network.model_copy(update={'onnx': name})}),
        bundle_folder / 'contract.yaml')
    with pytest.raises(BundleError, match='expected a file name in'):
        load_bundle(bundle_folder)


def test_files_may_be_symbolic_links_as_colcon_makes_them(
        bundle_folder: Path, tmp_path: Path) -> None:
    installed = tmp_path / 'installed'
    installed.mkdir()
    for file in bundle_folder.iterdir():
        (installed / file.name).symlink_to(file)
    assert load_bundle(installed).onnx_path == installed / 'policy.onnx'


@pytest.mark.parametrize('name', ARRAYS)
def test_golden_array_that_is_missing_is_refused(
        golden_file: Path, contract: PolicyContract, name: str) -> None:
    arrays = dict(np.load(golden_file))
    del arrays[name]
    np.savez(golden_file, **arrays)
    with pytest.raises(BundleError, match=f'not a golden file.*{name}'):
        load_golden(golden_file, contract)


BAD_ARRAYS: list[tuple[str, Callable[[Any], Any]]] = [
    ('one value wider', lambda array: np.hstack([array, array[:, :1]])),
    ('one row less', lambda array: array[1:]),
    ('flat', lambda array: array.ravel()),
    ('empty', lambda array: array[:0]),
    ('a single number', lambda array: np.float32(1.0)),
    ('text', lambda array: array.astype(str)),
    ('complex', lambda array: array.astype(complex)),
    ('not finite', lambda array: np.where(np.arange(array.size).reshape(array.shape) == 1,
                                          np.nan, array))]


@pytest.mark.parametrize(('name', 'change'), [
    pytest.param(name, change, id=f'{name} {what}') for name in ARRAYS
    for what, change in BAD_ARRAYS])
def test_golden_array_of_other_size_or_kind_is_refused(
        golden_file: Path, contract: PolicyContract, name: str,
        change: Callable[[Any], Any]) -> None:
    arrays = dict(np.load(golden_file))
    arrays[name] = change(arrays[name])
    np.savez(golden_file, **arrays)
    with pytest.raises(BundleError, match='expected finite floating-point values of shape'):
        load_golden(golden_file, contract)


def test_golden_file_without_a_single_sample_is_refused(
        golden_file: Path, contract: PolicyContract) -> None:
    arrays = dict(np.load(golden_file))
    np.savez(golden_file, **{name: array[:0] for name, array in arrays.items()})
    with pytest.raises(BundleError, match='expected finite floating-point values'):
        load_golden(golden_file, contract)


def test_pickled_objects_are_never_unpacked(golden_file: Path, contract: PolicyContract) -> None:
    arrays = dict(np.load(golden_file))
    arrays['actions'] = np.array([[{'an': 'object'}]], dtype=object)
    np.savez(golden_file, **arrays)
    with pytest.raises(BundleError, match='allow_pickle=False'):
        load_golden(golden_file, contract)


def array_file() -> bytes:
    """Give a file with one array, which is no archive."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'hello', array_file()],
                         ids=['empty', 'head alone', 'text', 'one array'])
def test_golden_file_that_is_no_archive_is_refused(
        golden_file: Path, contract: PolicyContract, content: bytes) -> None:
    golden_file.write_bytes(content)
    with pytest.raises(BundleError, match='is damaged or not a golden file'):
        load_golden(golden_file, contract)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_damaged_golden_file_is_refused_or_harmless(
        golden_file: Path, contract: PolicyContract, save: Callable[..., None]) -> None:
    """One wrong byte, or an end cut off: a BundleError, or the same numbers as before."""
    whole = load_golden(golden_file, contract)
    save(golden_file, **dict(np.load(golden_file)))
    content = golden_file.read_bytes()
    numbers = random.Random(3)
    refused = 0
    for turn in range(400):
        damaged = bytearray(content)
        place = numbers.randrange(len(damaged))
        if turn % 4:
            damaged[place] ^= numbers.randrange(1, 256)
        else:
            del damaged[place:]
        golden_file.write_bytes(damaged)
        try:
            golden = load_golden(golden_file, contract)
        except BundleError:
            refused += 1
        else:
            assert all(np.array_equal(getattr(golden, name), getattr(whole, name))
                       for name in ARRAYS)
    assert refused > 200
