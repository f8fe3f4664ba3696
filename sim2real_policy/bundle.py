"""The policy bundle: the one folder that is copied to a robot."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import CONTRACT_FILE, load_contract, PolicyContract
from sim2real_policy.errors import BundleError

GOLDEN_FILE = 'golden.npz'
GOLDEN_TOLERANCE = 1e-4  # raw action; float32 sums in another order differ by about 1e-6
_LFS_POINTER = b'version https://git-lfs'


@dataclass(frozen=True)
class Golden:
    """
    What the training network answered, and one whole chain through training's own rules.

    ``observations`` shape (k, observation width), ``actions`` shape (k, action width). The
    chain has t steps: joint arrays (t, joints) in rad, rad/s and N m, ``quaternion_xyzw``
    (t, 4) of the base in the world, ``angular_velocity`` [rad/s] and ``linear_velocity`` [m/s]
    (t, 3) of the base in the base frame, ``command`` (t, 3) as (vx, vy, wz), and what follows
    from them: ``observation``, ``raw_action``, ``target`` [rad] in the order of the raw action.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    chain_joint_position: NDArray[np.float64]
    chain_joint_velocity: NDArray[np.float64]
    chain_joint_effort: NDArray[np.float64]
    chain_quaternion_xyzw: NDArray[np.float64]
    chain_angular_velocity: NDArray[np.float64]
    chain_linear_velocity: NDArray[np.float64]
    chain_command: NDArray[np.float64]
    chain_observation: NDArray[np.float32]
    chain_raw_action: NDArray[np.float32]
    chain_target: NDArray[np.float64]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found and belong together."""

    folder: Path
    contract: PolicyContract
    onnx_path: Path
    golden: Golden


def sha256_of(path: Path) -> str:
    """
    Return the SHA-256 of a file in hexadecimal.

    :param path: the file.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """
    Load a bundle and check that its parts belong together.

    :param folder: the bundle.
    :raises ContractError: if the contract is wrong.
    :raises BundleError: if a file is missing, was exchanged, or has other sizes.
    """
    if not folder.is_dir():
        raise BundleError(f'there is no policy bundle at {folder}; expected a folder with '
                          f'policy.onnx, {CONTRACT_FILE} and {GOLDEN_FILE}, as '
                          'tools/export_onnx.py writes it')
    contract_path = folder / CONTRACT_FILE
    if not contract_path.is_file():
        raise BundleError(f'{folder} has no {CONTRACT_FILE}; it is not a policy bundle. '
                          'Write one with tools/export_onnx.py')
    contract = load_contract(contract_path)
    onnx_path = _checked_onnx(folder, contract)
    return Bundle(folder, contract, onnx_path, load_golden(folder / GOLDEN_FILE, contract))


def _checked_onnx(folder: Path, contract: PolicyContract) -> Path:
    path = folder / contract.network.onnx
    # By name: where colcon installs with symbolic links, the file itself is in the sources.
    if path.name != contract.network.onnx:
        raise BundleError(f"network.onnx is '{contract.network.onnx}', expected a file name in "
                          f'{folder}')
    if not path.is_file():
        raise BundleError(f'{path} is missing; copy the whole bundle, or export it again')
    if path.read_bytes()[:len(_LFS_POINTER)] == _LFS_POINTER:
        raise BundleError(f'{path} is a Git LFS pointer, not a network; run: git lfs pull')
    digest = sha256_of(path)
    if digest != contract.network.sha256:
        raise BundleError(
            f'{path} has SHA-256 {digest[:12]}..., the contract was written for '
            f'{contract.network.sha256[:12]}...; the network and the contract do not belong '
            'together. Copy the whole bundle again, or export it again')
    return path


def load_golden(path: Path, contract: PolicyContract) -> Golden:
    """
    Read ``golden.npz`` and check its sizes against the contract.

    :param path: the file.
    :param contract: the contract beside it.
    :raises BundleError: if it is missing, damaged, or of other sizes.
    """
    if not path.is_file():
        raise BundleError(f'{path} is missing; without it nobody can tell whether the network '
                          'runs as in training. Copy the whole bundle, or export it again')
    try:
        with np.load(path, allow_pickle=False) as arrays:
            golden = Golden(**{name: arrays[name] for name in Golden.__dataclass_fields__})
    except Exception as error:  # noqa: BLE001  zipfile, zlib, tokenize: damage has many names
        raise BundleError(f'{path} is damaged or not a golden file: {error}') from None
    _check_golden_sizes(path, golden, contract)
    return golden


def _check_golden_sizes(path: Path, golden: Golden, contract: PolicyContract) -> None:
    joints = len(contract.joints.names)
    samples, steps = golden.observations.shape[:1], golden.chain_command.shape[:1]
    expected = {
        'observations': (*samples, contract.observation_width),
        'actions': (*samples, contract.action_width),
        'chain_joint_position': (*steps, joints),
        'chain_joint_velocity': (*steps, joints),
        'chain_joint_effort': (*steps, joints),
        'chain_quaternion_xyzw': (*steps, 4),
        'chain_angular_velocity': (*steps, 3),
        'chain_linear_velocity': (*steps, 3),
        'chain_command': (*steps, 3),
        'chain_observation': (*steps, contract.observation_width),
        'chain_raw_action': (*steps, contract.action_width),
        'chain_target': (*steps, contract.action_width),
    }
    for name, shape in expected.items():
        array = getattr(golden, name)
        if array.shape != shape or not array.size or array.dtype.kind != 'f' \
                or not np.isfinite(array).all():
            raise BundleError(f'{path}: {name} has type {array.dtype} and shape {array.shape}, '
                              f'expected finite floating-point values of shape {shape}; export '
                              'the bundle again')
