"""
Rule: trtexec is found, asked for its version, and given only options that this version parses.

The table of options is read off the sources of each release; the stand-in for trtexec accepts
exactly those.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import pytest
from sim2real_policy.bundle import load_bundle
from sim2real_policy.engine_sidecar import ShapeRange
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_advice import advice, first_error
from sim2real_policy.offline.engine_progress import Progress
from sim2real_policy.offline.engine_request import EngineRequest, NetworkShapes, read_shapes
from sim2real_policy.offline.trtexec_command import compose_command
from sim2real_policy.offline.trtexec_program import (
    ask_version,
    find_trtexec,
    parse_banner,
    parse_version,
)
from sim2real_policy.offline.trtexec_run import run_trtexec
import stand_in_trtexec

pytest.importorskip('onnxruntime', reason='reads the inputs of networks')
pytest.importorskip('onnx', reason='makes networks')

VERSIONS = ('8.5', '8.6', '9.3', '10.0', '10.3', '10.9', '10.13.3', '10.16', '11.0', '11.1')
MakeBundle = Callable[..., Path]
FIXED = NetworkShapes({'obs': ShapeRange(min=(1, 18), opt=(1, 18), max=(1, 18))}, ())
OPEN = NetworkShapes({'obs': ShapeRange(min=(1, 18), opt=(1, 18), max=(16, 18))}, ('obs',))


def compose(folder: Path, version: str, precision: str = 'fp32', strongly_typed: bool = False,
            shapes: NetworkShapes = OPEN) -> list[str]:
    request = EngineRequest(load_bundle(folder), precision, 16, 256, strongly_typed)
    return compose_command('trtexec', parse_version(version), Path('p.onnx'), Path('p.plan'),
                           request, shapes)[1:]


@pytest.mark.parametrize(('version', 'precision', 'flags'), [
    ('8.5', 'fp32', ['--noTF32', '--buildOnly']),
    ('8.5', 'fp16', ['--fp16', '--noTF32', '--buildOnly']),
    ('8.6', 'int8', ['--int8', '--noTF32', '--skipInference']),
    ('10.3', 'fp32', ['--noTF32', '--skipInference']),
    ('10.3', 'fp16', ['--fp16', '--noTF32', '--skipInference']),
    ('11.1', 'fp16', ['--noTF32', '--skipInference']),
    ('11.1', 'int8', ['--noTF32', '--skipInference']),
])
def test_the_command_line_of_each_version(bundle_folder: Path, version: str, precision: str,
                                          flags: list[str]) -> None:
    assert compose(bundle_folder, version, precision) == [
        '--onnx=p.onnx', '--saveEngine=p.plan', '--minShapes=obs:1x18', '--optShapes=obs:1x18',
        '--maxShapes=obs:16x18', '--memPoolSize=workspace:256', *flags]


def test_strong_typing_is_asked_for_between_9_and_10_alone(bundle_folder: Path) -> None:
    assert compose(bundle_folder, '10.3', 'fp16', True)[5:] == [
        '--memPoolSize=workspace:256', '--stronglyTyped', '--noTF32', '--skipInference']
    assert '--stronglyTyped' not in compose(bundle_folder, '11.0', 'fp16', True)
    with pytest.raises(EngineError, match=r'--strongly-typed needs TensorRT 9 .*this is 8\.6'):
        compose(bundle_folder, '8.6', 'fp16', True)


def test_versions_without_the_interface_by_name_are_refused(bundle_folder: Path) -> None:
    with pytest.raises(EngineError, match=r'TensorRT 8\.4 is too old, expected 8\.5 or later'):
        compose(bundle_folder, '8.4')


def test_a_network_of_fixed_shape_gets_no_shapes(bundle_folder: Path) -> None:
    assert not [flag for flag in compose(bundle_folder, '10.3', shapes=FIXED) if 'Shapes' in flag]


def test_a_name_with_a_colon_is_quoted(bundle_folder: Path) -> None:
    shapes = NetworkShapes({'obs:0': OPEN.ranges['obs']}, ('obs:0',))
    assert "--minShapes='obs:0':1x18" in compose(bundle_folder, '10.3', shapes=shapes)


@pytest.mark.parametrize(('version', 'strongly_typed'), [
    *((version, False) for version in VERSIONS),
    *((version, True) for version in VERSIONS if not version.startswith('8'))])
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_no_option_is_unknown_to_its_version(bundle_folder: Path, version: str, precision: str,
                                             strongly_typed: bool) -> None:
    used = {flag.partition('=')[0] for flag in compose(bundle_folder, version, precision,
                                                       strongly_typed)}
    assert used <= stand_in_trtexec.parsed_flags(version)


def test_the_table_tells_the_versions_apart() -> None:
    parsed = stand_in_trtexec.parsed_flags
    assert '--fp16' in parsed('10.16')
    assert '--fp16' not in parsed('11.0')
    assert '--workspace' not in parsed('10.0')
    assert '--skipInference' not in parsed('8.5')


@pytest.mark.parametrize(('banner', 'version'), [
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help', (8, 5, 2)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --help', (8, 6, 1)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v9300] # trtexec --help', (9, 3, 0)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --help', (10, 3, 0)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # /usr/bin/trtexec', (10, 16, 2, 10)),
    ('&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b5] # trtexec', (11, 1, 0, 5)),
    ('trtexec: not a banner', None),
])
def test_the_version_is_read_off_the_banner(banner: str, version: tuple[int, ...] | None) -> None:
    assert parse_banner(banner) == version


@pytest.mark.parametrize('text', ['', '10.', '10.3.0.30.1', 'v10', '10,3'])
def test_a_mistyped_version_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match=r"the TensorRT version is '.*', expected numbers"):
        parse_version(text)


def test_the_places_are_searched_in_order(tmp_path: Path) -> None:
    for name in ('option', 'variable', 'path', 'debian', 'root/bin'):
        (tmp_path / name).mkdir(parents=True)
        stand_in_trtexec.install(tmp_path / name, '10.3')
    everywhere = {'TRTEXEC': str(tmp_path / 'variable' / 'trtexec'),
                  'PATH': str(tmp_path / 'path'), 'TensorRT_ROOT': str(tmp_path / 'root')}
    debian = (str(tmp_path / 'nowhere' / 'trtexec'), str(tmp_path / 'debian' / 'trtexec'))

    def found(option: Path | None, *left: str) -> Path | None:
        return find_trtexec(option, {name: everywhere[name] for name in left}, debian)

    assert found(tmp_path / 'option' / 'trtexec', *everywhere) == tmp_path / 'option' / 'trtexec'
    assert found(None, *everywhere) == tmp_path / 'variable' / 'trtexec'
    assert found(None, 'PATH', 'TensorRT_ROOT') == tmp_path / 'path' / 'trtexec'
    assert find_trtexec(None, {'PATH': '/nowhere', 'TensorRT_ROOT': everywhere['TensorRT_ROOT']},
                        debian) == tmp_path / 'debian' / 'trtexec'
    assert find_trtexec(None, {'PATH': '/nowhere', 'TensorRT_ROOT': everywhere['TensorRT_ROOT']},
                        ()) == tmp_path / 'root' / 'bin' / 'trtexec'
    assert find_trtexec(None, {'PATH': '/nowhere'}, ()) is None


def test_a_program_that_was_named_and_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r'is no program, expected trtexec; correct --trtexec'):
        find_trtexec(tmp_path / 'trtexec', {}, ())
    with pytest.raises(EngineError, match='is no program'):
        find_trtexec(None, {'TRTEXEC': str(tmp_path)}, ())


@pytest.mark.parametrize('version', VERSIONS)
def test_a_trtexec_is_asked_for_its_version(tmp_path: Path, version: str) -> None:
    asked = ask_version(stand_in_trtexec.install(tmp_path, version, build=7))
    assert asked[:2] == parse_version(version)[:2]
    assert asked[3:] == ((7,) if asked >= (10, 4) else ())


@pytest.mark.parametrize(('script', 'sentence'), [
    ('#!/bin/sh\necho hello\n', r'does not tell its version, but: hello; keep the log'),
    ('#!/bin/sh\necho "trtexec: error while loading shared libraries: libnvinfer.so.10: cannot '
     'open shared object file" >&2; exit 127\n', 'TensorRT is installed in part'),
    ('not a program', 'cannot be run: .*Exec format error'),
])
def test_a_program_that_is_no_trtexec_is_told(tmp_path: Path, script: str, sentence: str) -> None:
    program = tmp_path / 'trtexec'
    program.write_text(script)
    program.chmod(0o755)
    with pytest.raises(EngineError, match=sentence):
        ask_version(program)


def build(folder: Path, version: str, tmp_path: Path, *extra: str,
          precision: str = 'fp32') -> list[str]:
    """Run the stand-in as the tool would, and return what it said."""
    program = stand_in_trtexec.install(tmp_path, version)
    bundle, plan = load_bundle(folder), tmp_path / 'p.plan'
    request = EngineRequest(bundle, precision)
    command = compose_command(str(program), parse_version(version), bundle.onnx_path, plan,
                              request, read_shapes(bundle.onnx_path, bundle, 1))
    with Progress('building') as progress:
        run_trtexec([*command, *extra], plan, progress)
    return progress.lines


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('batch', [1, 'batch'])
def test_every_version_builds(make_bundle: MakeBundle, tmp_path: Path, version: str,
                              batch: int | str) -> None:
    lines = build(make_bundle(batch=batch), version, tmp_path, precision='fp16')
    assert lines[-1].startswith('&&&& PASSED TensorRT.trtexec')
    assert (tmp_path / 'p.plan').read_bytes()[:4] == b'ftrt'


def test_an_unknown_option_is_the_error_that_is_told_and_not_the_help(bundle_folder: Path,
                                                                      tmp_path: Path) -> None:
    with pytest.raises(EngineError) as error:
        build(bundle_folder, '11.1', tmp_path, '--fp16')
    assert str(error.value) == (
        'trtexec could not build the engine: Unknown option: --fp16; this trtexec has another '
        'version than it said; name the right one with --trtexec')


def test_shapes_for_a_fixed_network_are_an_error_of_trtexec(bundle_folder: Path,
                                                            tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r'Static model does not take explicit shapes .*leave '
                       r'--max-batch out'):
        build(bundle_folder, '10.3', tmp_path, '--minShapes=obs:1x18')


@pytest.mark.parametrize(('fault', 'sentence'), [
    ('memory', r'OutOfMemory \(Requested size was 268435456 bytes\.\); the board has no memory'),
    ('workspace', 'no tactics to implement the operation within workspace limit.*--workspace'),
    ('driver', 'cudaError 35: .*; no NVIDIA driver or GPU is visible here'),
    ('killed', 'trtexec could not build the engine: no error but signal 9; '),
    ('nothing', 'no error but exit code 0 and no engine; '),
])
def test_a_failure_is_one_sentence_with_cause_and_advice(
        bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str,
        sentence: str) -> None:
    monkeypatch.setenv('STAND_IN_FAULT', fault)
    with pytest.raises(EngineError, match=sentence) as error:
        build(bundle_folder, '10.3', tmp_path)
    assert '\n' not in str(error.value)
    assert 'Engine could not be created' not in str(error.value)  # the consequence, not the cause


def test_an_interrupted_build_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while trtexec works: it is ended, too."""
    script = tmp_path / 'slow'
    script.write_text(f'#!{sys.executable}\nimport os, signal, time\n'
                      f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
                      f'os.kill({{parent}}, signal.SIGINT)\ntime.sleep(60)\n')
    code = (f'import os, sys\nfrom pathlib import Path\n'
            f'from sim2real_policy.offline.engine_progress import Progress\n'
            f'from sim2real_policy.offline.trtexec_run import run_trtexec\n'
            f'script = Path({str(script)!r})\n'
            f"script.write_text(script.read_text().replace('{{parent}}', str(os.getpid())))\n"
            f'script.chmod(0o755)\n'
            f"run_trtexec([str(script)], Path('p'), Progress('building'))\n")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=False, timeout=50, cwd=Path(__file__).resolve().parents[1])
    assert 'KeyboardInterrupt' in done.stderr
    pid = int((tmp_path / 'pid').read_text())
    deadline = time.monotonic() + 20.0
    while Path(f'/proc/{pid}').exists() and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert not Path(f'/proc/{pid}').exists()
    assert done.returncode in (-signal.SIGINT, 1, 130)


@pytest.mark.parametrize(('line', 'bare'), [
    ('[11/22/2026-10:00:01] [E] Error[1]: [a.cpp::b::2] Error Code 1: x', 'Error Code 1: x'),
    ('[E] [TRT] ModelImporter.cpp:735: Failed to parse', 'ModelImporter.cpp:735: Failed to parse'),
    ('[11/22/2026-10:00:01] [E] Unknown option: --x', 'Unknown option: --x'),
])
def test_the_decoration_of_an_error_is_dropped(line: str, bare: str) -> None:
    assert first_error(['[I] fine', '[W] careful', line, '[E] later']).endswith(bare)
    assert '[E]' not in first_error([line])
    assert first_error(['[I] fine']) == ''


def test_the_reason_of_the_parser_is_told_and_not_the_node_it_shows_first() -> None:
    # As the parser of TensorRT for RTX 1.7 says it.
    assert first_error([
        '[E] [TRT] ModelImporter.cpp:140: While parsing node number 3 [Fancy -> "x"]:',
        '[E] [TRT] ModelImporter.cpp:142: --- Begin node ---', 'Node name: /2/Elu',
        '[E] [TRT] ModelImporter.cpp:143: --- End node ---',
        '[E] [TRT] ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:998 In function check:',
        '[6] creator && "Plugin not found"']) == (
            'ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:998 In function check: '
            '[6] creator && "Plugin not found"')


@pytest.mark.parametrize(('text', 'what'), [
    ('Unable to load library: libnvinfer_lean.so.10', 'installed in part'),
    ('Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not '
     'match.', 'two versions of TensorRT are mixed'),
    ('Cannot compile operation x for Turing (SM75): FP32 GEMM is not supported', 'fp16'),
    ('No importer registered for op: Foo', 'without custom layers'),
    ('something new', 'keep the log'),
])
def test_advice(text: str, what: str) -> None:
    assert what in advice(text)


def test_inputs_that_are_not_the_contracts_are_refused(make_bundle: MakeBundle) -> None:
    bundle = load_bundle(make_bundle())
    with pytest.raises(EngineError, match=r'--max-batch is 2, but .* fixes its batch at 1'):
        read_shapes(bundle.onnx_path, bundle, 2)
    other = bundle.contract.model_copy(update={
        'network': bundle.contract.network.model_copy(update={'input': 'observations'})})
    with pytest.raises(EngineError, match=r"has the input 'obs', expected \['observations'\]"):
        read_shapes(bundle.onnx_path, type(bundle)(bundle.folder, other, bundle.onnx_path,
                                                   bundle.golden), 1)


def test_an_open_batch_becomes_a_range(make_bundle: MakeBundle) -> None:
    bundle = load_bundle(make_bundle(batch='batch'))
    shapes = read_shapes(bundle.onnx_path, bundle, 8)
    width = bundle.contract.observation_width
    assert shapes.open_inputs == ('obs',)
    assert shapes.ranges['obs'] == ShapeRange(min=(1, width), opt=(1, width), max=(8, width))
