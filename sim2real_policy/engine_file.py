"""
Tells whether an engine file is one for this machine and this policy, without TensorRT.

A plan runs on the TensorRT build, GPU and platform it was built with, and it holds code that the
GPU executes. So it is compared with its note and the machine before anything loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
import stat
import struct

from sim2real_policy.bundle import Bundle, sha256_of
from sim2real_policy.contract import CONTRACT_FILE
from sim2real_policy.engine_sidecar import (
    EngineSidecar,
    load_sidecar,
    PLAN_SUFFIX,
    rebuild,
    sidecar_path,
)
from sim2real_policy.errors import EngineError

ENGINES_FOLDER = 'engines'
TENSORRT, TENSORRT_RTX = 'tensorrt', 'tensorrt_rtx'
PRODUCTS = {TENSORRT: 'TensorRT', TENSORRT_RTX: 'TensorRT for RTX'}
HEADER_BYTES = 28
_FLAVORS = {b'ftrt': TENSORRT, b'ptrt': TENSORRT, b'vtrt': TENSORRT_RTX}
# Before TensorRT 8.6; its header has the magic in common with later ones, and no more is known.
_OLD_MAGIC = b'ptrt'
_SIZE_OFFSET, _VERSION_OFFSET = 16, 24
_ONNX_SECOND_FIELDS = b'\x12\x1a\x22\x28\x32\x3a\x42'


@dataclass(frozen=True)
class Machine:
    """
    What an engine has to match; an empty string means: not known, and is not compared.

    Such as ('10.3.0.30', 'Orin', '8.7', 'Linux-5.15.148-tegra', 'aarch64').
    """

    tensorrt_version: str
    gpu_name: str
    compute_capability: str
    os: str
    cpu: str
    flavor: str = TENSORRT


@dataclass(frozen=True)
class PlanHeader:
    """First bytes of a plan; ``version`` is empty and ``size`` 0 for plans before 8.6."""

    flavor: str
    version: str
    size: int


def find_engines(bundle_folder: Path) -> list[Path]:
    """
    Return the plans of a bundle, the newest build first.

    :param bundle_folder: the bundle.
    """
    plans = (bundle_folder / ENGINES_FOLDER).glob(f'*{PLAN_SUFFIX}')
    return sorted((plan for plan in plans if plan.is_file()),
                  key=lambda plan: (_built(plan), plan.name), reverse=True)


def _built(plan: Path) -> datetime:
    try:
        built = datetime.fromisoformat(load_sidecar(sidecar_path(plan)).created)
    except EngineError:
        return datetime.fromtimestamp(plan.stat().st_mtime, timezone.utc)
    return built if built.tzinfo else built.replace(tzinfo=timezone.utc)


def world_writable(path: Path) -> bool:
    """
    Tell whether any user of the machine could change a file or put another in its place.

    :param path: the file.
    """
    if path.stat().st_mode & stat.S_IWOTH:
        return True
    folder = path.parent.stat().st_mode
    return bool(folder & stat.S_IWOTH) and not folder & stat.S_ISVTX


def check_engine(plan: Path, bundle: Bundle, machine: Machine) -> EngineSidecar:
    """
    Refuse a plan that is damaged, another model's or another machine's.

    :param plan: the engine.
    :param bundle: the policy it shall compute.
    :param machine: what is installed here.
    :returns: its note.
    :raises EngineError: with the first cause found and how to rebuild.
    """
    again = rebuild(bundle.folder)
    header = read_plan_header(plan, again, _before_8_6(machine.tensorrt_version))
    _check_runtime(plan, header, machine, again)
    sidecar = load_sidecar(sidecar_path(plan))
    _check_note(plan, header, sidecar, again)
    _check_model(plan, sidecar, bundle, again)
    _check_machine(plan, sidecar, machine, again)
    _check_proof(plan, sidecar, again)
    return sidecar


def _before_8_6(version: str) -> bool:
    parts = [int(part) for part in version.split('.')[:2] if part.isdigit()]
    return bool(parts) and parts < [8, 6]


def read_plan_header(plan: Path, again: str, old: bool = False) -> PlanHeader:
    """
    Read the first bytes of a plan and compare them with the size of the file.

    :param plan: the file.
    :param again: how to rebuild, the end of each sentence.
    :param old: whether the machine has TensorRT before 8.6, whose plans begin in a way that is
        not documented: then only what is clearly something else is refused.
    :raises EngineError: if it is missing, empty, truncated, or something else.
    """
    if not plan.is_file():
        raise EngineError(f'there is no engine at {plan}; {again}')
    try:
        size = plan.stat().st_size
        with plan.open('rb') as file:
            data = file.read(512)
    except OSError as error:
        raise EngineError(f'cannot read {plan}: {error}; {again}') from None
    if not data:
        raise EngineError(f'{plan} is empty, its copy or its build was cut off; {again}')
    flavor = _FLAVORS.get(data[:4])
    if flavor is None:
        other = _looks_like(data)
        if old and not other:
            return PlanHeader(TENSORRT, '', 0)
        raise EngineError(f'{plan} is {other or f"a file that begins with {data[:4]!r}"}, '
                          f'expected a TensorRT engine; {again}')
    if size < HEADER_BYTES:
        raise EngineError(f'{plan} has {size} bytes, not even the {HEADER_BYTES} of a header: it '
                          f'was truncated; {again}')
    if data[:4] == _OLD_MAGIC:
        return PlanHeader(flavor, '', 0)
    (declared,) = struct.unpack_from('<Q', data, _SIZE_OFFSET)
    if declared != size:
        raise EngineError(f'{plan} has {size} bytes, but its header says {declared}: it was '
                          f'truncated or changed; copy the whole file again, or {again}')
    version = '.'.join(str(byte) for byte in data[_VERSION_OFFSET:HEADER_BYTES])
    return PlanHeader(flavor, version, declared)


def _looks_like(data: bytes) -> str:
    if data.startswith(b'version https://git-lfs'):
        return "a Git LFS pointer ('git lfs pull' gets the file itself)"
    if len(data) > 2 and data[0] == 8 and data[1] < 32 and data[2] in _ONNX_SECOND_FIELDS:
        return 'an ONNX network'
    if data.startswith(b'PK'):
        return 'a zip archive or a PyTorch checkpoint'
    if len(data) > 5 and data[4:6] == b'{"':
        return 'an engine with a foreign preamble (as Ultralytics writes it)'
    try:
        text = data[:256].decode('utf-8', errors='strict')
    except UnicodeDecodeError:
        text = ''
    if text and all(letter.isprintable() or letter.isspace() for letter in text):
        return f'a text that begins with {text[:24]!r}'
    return ''


def same_version(one: str, other: str) -> bool:
    """
    Compare versions as far as both tell; TensorRT's Python module often leaves out the build.

    :param one: such as '10.3.0.30'.
    :param other: such as '10.3.0'.
    """
    return all(a == b for a, b in zip(one.split('.'), other.split('.'), strict=False)) \
        or not (one and other)


def _check_runtime(plan: Path, header: PlanHeader, machine: Machine, again: str) -> None:
    if machine.flavor and header.flavor != machine.flavor:
        raise EngineError(
            f'{plan} is an engine of {PRODUCTS[header.flavor]}, but this machine runs '
            f'{PRODUCTS.get(machine.flavor, machine.flavor)} {machine.tensorrt_version}; neither '
            f'reads the engines of the other; {again}')
    if not same_version(header.version, machine.tensorrt_version):
        raise EngineError(
            f'{plan} was built with {PRODUCTS[header.flavor]} {header.version}, this machine has '
            f'{machine.tensorrt_version}; an engine runs on the very version that built it; '
            f'{again}')


def _check_note(plan: Path, header: PlanHeader, sidecar: EngineSidecar, again: str) -> None:
    digest = sha256_of(plan)
    if digest != sidecar.plan_sha256:
        raise EngineError(
            f'{plan} has SHA-256 {digest[:12]}..., but the note beside it was written for '
            f'{sidecar.plan_sha256[:12]}...; an engine is executable code, so one from elsewhere '
            f'is not loaded; {again}')
    if sidecar.flavor != header.flavor or not same_version(sidecar.tensorrt_version,
                                                           header.version):
        raise EngineError(
            f'{plan} was built with {PRODUCTS[header.flavor]} {header.version}, but the note '
            f'beside it says {PRODUCTS[sidecar.flavor]} {sidecar.tensorrt_version}; {again}')


def _check_model(plan: Path, sidecar: EngineSidecar, bundle: Bundle, again: str) -> None:
    contract = bundle.folder / CONTRACT_FILE
    for what, built, here in (
            ('network', sidecar.onnx_sha256, bundle.contract.network.sha256),
            ('contract', sidecar.contract_sha256, sha256_of(contract))):
        if built != here:
            raise EngineError(
                f'{plan} was built from another {what} (SHA-256 {built[:12]}..., the {what} of '
                f'this bundle has {here[:12]}...); {again}')


def _check_machine(plan: Path, sidecar: EngineSidecar, machine: Machine, again: str) -> None:
    for what, built, here in (
            ('TensorRT', sidecar.tensorrt_version, machine.tensorrt_version),
            ('compute capability', sidecar.compute_capability, machine.compute_capability),
            ('the GPU', sidecar.gpu_name, machine.gpu_name),
            # The kernel may be updated under an engine; only the system itself must stay.
            ('the system', sidecar.os.split('-')[0], machine.os.split('-')[0]),
            ('the CPU', sidecar.cpu, machine.cpu)):
        same = same_version(built, here) if what == 'TensorRT' else built == here
        if built and here and not same:
            raise EngineError(f'{plan} was built for {what} {built}, this machine has {here}; '
                              f'engines cannot be copied between them; {again}')


def _check_proof(plan: Path, sidecar: EngineSidecar, again: str) -> None:
    proof = sidecar.proof
    if proof is None or proof.fit is not False:
        return
    if proof.worst_rad is not None and proof.worst_relative is not None:
        seen = (f'differed from ONNX Runtime by {proof.worst_rad:.3g} rad, '
                f'{proof.worst_relative:.3g} of the raw action, expected at most '
                f'{proof.tolerance:g}')
    else:
        seen = 'answered with something that is no number' if proof.rows else \
            f'could not be run ({proof.note})'
    exact = '' if sidecar.precision == 'fp32' else ' --precision fp32'
    raise EngineError(f'{plan} is marked unfit: when it was built it {seen}; {again}{exact}')
