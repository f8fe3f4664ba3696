"""Rule: a plan that is damaged, another model's or another machine's is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import struct
from typing import Any

import pytest
from sim2real_policy.bundle import Bundle, sha256_of
from sim2real_policy.engine_file import check_engine, find_engines, Machine, world_writable
from sim2real_policy.engine_sidecar import EngineSidecar, load_sidecar, sidecar_path
from sim2real_policy.errors import EngineError

ORIN = Machine('10.3.0.30', 'Orin', '8.7', 'Linux-5.15.148-tegra', 'aarch64')
BODY = b'\x91' * 100
Change = Callable[[dict[str, Any]], None]


def plan_bytes(version: tuple[int, int, int, int] = (10, 3, 0, 30), magic: bytes = b'ftrt',
               size: int | None = None) -> bytes:
    declared = 28 + len(BODY) if size is None else size
    return magic + struct.pack('<IQQ4B', 0, 2, declared, *version) + BODY


@pytest.fixture
def plan(bundle: Bundle) -> Path:
    """Give an engine that is right for the Orin, with its note."""
    plan = bundle.folder / 'engines' / 'tripod-fp32.plan'
    plan.parent.mkdir()
    write(plan, bundle, plan_bytes())
    return plan


def write(plan: Path, bundle: Bundle, content: bytes, **changes: Any) -> None:
    """Write an engine and a note that fits to it, but for the changes."""
    plan.write_bytes(content)
    EngineSidecar.model_validate({
        'plan': plan.name, 'plan_sha256': sha256_of(plan),
        'onnx_sha256': bundle.contract.network.sha256,
        'contract_sha256': sha256_of(bundle.folder / 'contract.yaml'),
        'flavor': 'tensorrt', 'tensorrt_version': '10.3.0.30', 'gpu_name': 'Orin',
        'compute_capability': '8.7', 'os': 'Linux-5.15.148-tegra', 'cpu': 'aarch64',
        'precision': 'fp32', 'shapes': {'obs': {'min': (1, 18), 'opt': (1, 18), 'max': (1, 18)}},
        'builder': 'trtexec', 'command_line': 'trtexec', 'build_seconds': 1.5,
        'created': '2026-11-22T10:00:00+00:00', **changes}).save(sidecar_path(plan))


def refusal(plan: Path, bundle: Bundle, machine: Machine = ORIN) -> str:
    """Return the sentence without the path before it and the advice that ends all of them."""
    with pytest.raises(EngineError) as error:
        check_engine(plan, bundle, machine)
    sentence = str(error.value)
    again = f'rebuild it on this machine: python tools/build_engine.py {bundle.folder}'
    assert sentence.endswith(again)
    assert '\n' not in sentence
    return sentence.replace(str(plan.parent) + '/', '').partition(again)[0]


def test_a_right_engine_is_taken_and_its_note_returned(bundle: Bundle, plan: Path) -> None:
    note = check_engine(plan, bundle, ORIN)
    assert (note.precision, note.shapes['obs'].max) == ('fp32', (1, 18))


def test_what_is_not_known_of_a_machine_is_not_compared(bundle: Bundle, plan: Path) -> None:
    check_engine(plan, bundle, Machine('', '', '', '', '', ''))
    # Python's module names no build number in many versions.
    check_engine(plan, bundle, Machine('10.3.0', 'Orin', '', 'Linux-5.15.185-tegra', 'aarch64'))


def test_a_missing_plan(bundle: Bundle, plan: Path) -> None:
    plan.unlink()
    assert refusal(plan, bundle).startswith('there is no engine at tripod-fp32.plan; ')


def test_a_missing_note(bundle: Bundle, plan: Path) -> None:
    sidecar_path(plan).unlink()
    assert refusal(plan, bundle).startswith('tripod-fp32.json is missing, so nobody can tell')


@pytest.mark.parametrize(('content', 'sentence'), [
    (b'', 'tripod-fp32.plan is empty, its copy or its build was cut off'),
    (plan_bytes()[:20], 'tripod-fp32.plan has 20 bytes, not even the 28 of a header: it was '
     'truncated'),
    (plan_bytes()[:-1], 'tripod-fp32.plan has 127 bytes, but its header says 128: it was '
     'truncated or changed; copy the whole file again'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n',
     "tripod-fp32.plan is a Git LFS pointer ('git lfs pull' gets the file itself), expected a "
     'TensorRT engine'),
    (b'hello\nworld\n', "tripod-fp32.plan is a text that begins with 'hello\\nworld\\n', "
     'expected'),
    (b'PK\x03\x04\xff', 'tripod-fp32.plan is a zip archive or a PyTorch checkpoint, expected'),
    (b'\x20\x01\x00\x00{"stride": 32}', 'tripod-fp32.plan is an engine with a foreign preamble'),
    (plan_bytes(magic=b'\xde\xad\xbe\xef'),
     "tripod-fp32.plan is a file that begins with b'\\xde\\xad\\xbe\\xef', expected"),
    (plan_bytes((1, 7, 1, 116), b'vtrt'),
     'tripod-fp32.plan is an engine of TensorRT for RTX, but this machine runs TensorRT '
     '10.3.0.30; neither reads the engines of the other'),
    (plan_bytes((10, 3, 0, 26)),
     'tripod-fp32.plan was built with TensorRT 10.3.0.26, this machine has 10.3.0.30; an engine '
     'runs on the very version that built it'),
    (plan_bytes((8, 6, 2, 3)), 'tripod-fp32.plan was built with TensorRT 8.6.2.3, this machine '
     'has 10.3.0.30'),
    (plan_bytes()[:-1] + b'!', 'tripod-fp32.plan has SHA-256 '),
])
def test_a_file_that_is_not_the_engine(bundle: Bundle, plan: Path, content: bytes,
                                       sentence: str) -> None:
    plan.write_bytes(content)
    assert refusal(plan, bundle).startswith(sentence)


def test_the_network_in_the_place_of_the_engine(bundle: Bundle, plan: Path) -> None:
    plan.write_bytes(bundle.onnx_path.read_bytes())
    assert refusal(plan, bundle).startswith('tripod-fp32.plan is an ONNX network, expected')


def test_a_tensorrt_engine_where_rtx_runs(bundle: Bundle, plan: Path) -> None:
    rtx = Machine('1.7.1.116', '', '', '', '', 'tensorrt_rtx')
    assert refusal(plan, bundle, rtx).startswith(
        'tripod-fp32.plan is an engine of TensorRT, but this machine runs TensorRT for RTX 1.7.1')


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'gpu_name': 'NVIDIA GeForce RTX 4090'},
     'tripod-fp32.plan was built for the GPU NVIDIA GeForce RTX 4090, this machine has Orin'),
    ({'compute_capability': '8.9'},
     'tripod-fp32.plan was built for compute capability 8.9, this machine has 8.7'),
    ({'os': 'Windows-11'}, 'tripod-fp32.plan was built for the system Windows, this machine has '
     'Linux'),
    ({'cpu': 'x86_64'}, 'tripod-fp32.plan was built for the CPU x86_64, this machine has aarch64'),
    ({'onnx_sha256': 'ab' * 32}, 'tripod-fp32.plan was built from another network (SHA-256 '
     'abababababab..., the network of this bundle has '),
    ({'contract_sha256': 'cd' * 32}, 'tripod-fp32.plan was built from another contract (SHA-256 '
     'cdcdcdcdcdcd...'),
    ({'tensorrt_version': '10.7.0.23'}, 'tripod-fp32.plan was built with TensorRT 10.3.0.30, but '
     'the note beside it says TensorRT 10.7.0.23'),
    ({'proof': {'fit': False, 'worst_raw': 0.5, 'worst_rad': 0.125, 'worst_relative': 0.25,
                'tolerance': 0.02}},
     'tripod-fp32.plan is marked unfit: when it was built it differed from ONNX Runtime by '
     '0.125 rad, 0.25 of the raw action, expected at most 0.02'),
    ({'proof': {'fit': False, 'tolerance': 0.02, 'rows': 9}}, 'tripod-fp32.plan is marked unfit: '
     'when it was built it answered with something that is no number; '),
    ({'proof': {'fit': False, 'tolerance': 0.02, 'note': 'out of memory'}},
     'tripod-fp32.plan is marked unfit: when it was built it could not be run (out of memory); '),
])
def test_a_note_of_another_machine_or_model(bundle: Bundle, plan: Path, changes: dict[str, Any],
                                            sentence: str) -> None:
    write(plan, bundle, plan_bytes(), **changes)
    assert refusal(plan, bundle).startswith(sentence)


def test_an_unfit_engine_of_lower_precision_is_to_be_built_in_fp32(bundle: Bundle,
                                                                   plan: Path) -> None:
    write(plan, bundle, plan_bytes(), precision='int8', proof={'fit': False, 'tolerance': 0.2})
    with pytest.raises(EngineError, match=r'build_engine\.py \S+ --precision fp32$'):
        check_engine(plan, bundle, ORIN)


@pytest.mark.parametrize('fit', [True, None])
def test_a_proof_that_was_passed_or_not_run_is_no_obstacle(bundle: Bundle, plan: Path,
                                                           fit: bool | None) -> None:
    write(plan, bundle, plan_bytes(), proof={'fit': fit, 'tolerance': 0.02})
    proof = check_engine(plan, bundle, ORIN).proof
    assert proof is not None
    assert proof.fit is fit


def test_plans_before_8_6_are_compared_by_their_note(bundle: Bundle, plan: Path) -> None:
    xavier = Machine('8.5.2.2', '', '', '', '')
    for content in (b'ptrt' + BODY, b'\xaa\xbb\xcc\xdd' + BODY):
        write(plan, bundle, content, tensorrt_version='8.5.2.2')
        check_engine(plan, bundle, xavier)
    write(plan, bundle, content, tensorrt_version='8.4.1.5')
    assert refusal(plan, bundle, xavier).startswith(
        'tripod-fp32.plan was built for TensorRT 8.4.1.5, this machine has 8.5.2.2')
    plan.write_bytes(bundle.onnx_path.read_bytes())
    assert refusal(plan, bundle, xavier).startswith('tripod-fp32.plan is an ONNX network')


def edit(plan: Path, change: Change) -> None:
    data = json.loads(sidecar_path(plan).read_text())
    change(data)
    sidecar_path(plan).write_text(json.dumps(data))


@pytest.mark.parametrize(('change', 'sentence'), [
    (lambda data: data.update(schema_version=2),
     'tripod-fp32.json has schema version 2, this package reads up to 1; update'),
    (lambda data: data.pop('schema_version'),
     'tripod-fp32.json has schema_version None, expected 1'),
    (lambda data: data.update(gpu='Orin'),
     "tripod-fp32.json: unknown key 'gpu' (did you mean 'cpu'?)"),
    (lambda data: data.update(precision='fp8'), 'tripod-fp32.json: precision: '),
    (lambda data: data.update(created='yesterday'), 'tripod-fp32.json: created: '),
    (lambda data: data.pop('plan_sha256'), 'tripod-fp32.json: plan_sha256: Field required'),
    (lambda data: data['shapes']['obs'].update(max=[0, 18]),
     'tripod-fp32.json: shapes.obs.max.0: '),
])
def test_a_note_that_is_not_understood_is_refused(bundle: Bundle, plan: Path, change: Change,
                                                  sentence: str) -> None:
    edit(plan, change)
    assert refusal(plan, bundle).startswith(sentence)


@pytest.mark.parametrize(('text', 'sentence'), [
    (b'{', 'tripod-fp32.json is not JSON ('), (b'[]', 'tripod-fp32.json holds list, expected'),
    (b'\xff\xfe', 'cannot read tripod-fp32.json: ')])
def test_a_note_that_is_damaged(bundle: Bundle, plan: Path, text: bytes, sentence: str) -> None:
    sidecar_path(plan).write_bytes(text)
    assert refusal(plan, bundle).startswith(sentence)


def test_a_note_is_read_as_it_was_written(bundle: Bundle, plan: Path) -> None:
    note = load_sidecar(sidecar_path(plan))
    note.save(plan.with_suffix('.copy'))
    assert plan.with_suffix('.copy').read_text() == sidecar_path(plan).read_text()


def test_engines_are_found_the_newest_build_first(bundle: Bundle, plan: Path) -> None:
    older, newer = plan.with_name('a-older.plan'), plan.with_name('z-newer.plan')
    write(older, bundle, plan_bytes(), created='2026-11-22T11:00:00+02:00')  # 9:00 UTC
    write(newer, bundle, plan_bytes(), created='2026-11-22T10:00:01+00:00')
    bare = plan.with_name('bare.plan')
    bare.write_bytes(b'')
    os.utime(bare, (0, 0))
    assert [path.name for path in find_engines(bundle.folder)] == [
        'z-newer.plan', 'tripod-fp32.plan', 'a-older.plan', 'bare.plan']
    assert find_engines(bundle.folder / 'nowhere') == []


def test_a_plan_that_anybody_may_change_is_told(plan: Path) -> None:
    assert not world_writable(plan)
    plan.chmod(0o666)
    assert world_writable(plan)
    plan.chmod(0o644)
    plan.parent.chmod(0o777)
    assert world_writable(plan)
    plan.parent.chmod(0o1777)  # as /tmp: others cannot replace the file
    assert not world_writable(plan)
