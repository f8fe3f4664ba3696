"""
Rule: an engine is written with its note, proven, and marked when it is unfit; or nothing is.

The builder here is the stand-in for trtexec, and the runner computes with ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import functools
import io
from pathlib import Path
import platform
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.engine_file import check_engine, Machine
from sim2real_policy.engine_sidecar import load_sidecar, sidecar_path
from sim2real_policy.errors import EngineError, MissingDependencyError
from sim2real_policy.offline import build_engine as cli
from sim2real_policy.offline import engine_tools
from sim2real_policy.offline.engine_build import build_engine, Outcome, Plant
from sim2real_policy.offline.engine_folder import whole_engine
from sim2real_policy.offline.engine_progress import Progress
from sim2real_policy.offline.engine_proof import RANDOM_ROWS, realistic_rows
from sim2real_policy.offline.engine_request import EngineRequest
from sim2real_policy.offline.engine_tools import trtexec_tool
from sim2real_policy.offline.gpu_identity import gpu_identity
import stand_in_trtexec

pytest.importorskip('onnxruntime', reason='is what engines are compared with')
pytest.importorskip('onnx', reason='makes networks')

ROOT = Path(__file__).resolve().parents[1]
ORIN = ('Orin', '8.7')
MACHINE = Machine('10.3.0.30', 'Orin', '8.7', f'{platform.system()}-', platform.machine())
F32 = NDArray[np.float32]
RunTool = Callable[..., tuple[int, str, str]]


class Runner:
    """Answers as the network does, plus an error."""

    def __init__(self, bundle: Bundle, plan: Path, error: float = 0.0) -> None:
        from sim2real_policy.onnx_runner import OnnxRunner
        assert plan.is_file()
        assert sidecar_path(plan).is_file()
        self._inner, self._error = OnnxRunner(bundle), np.float32(error)
        self.input, self.output = self._inner.input, self._inner.output
        self.reset, self.closed = self._inner.reset, False

    def run(self) -> None:
        self._inner.run()
        self.output += self._error

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Give the stand-in for the trtexec of JetPack 6.2."""
    return stand_in_trtexec.install(tmp_path, '10.3', build=30)


@pytest.fixture
def run_tool(bundle_folder: Path, program: Path, monkeypatch: pytest.MonkeyPatch,
             capsys: pytest.CaptureFixture[str]) -> RunTool:
    """Give a function that runs the tool on a machine with an Orin and this trtexec."""
    def run(*arguments: str, error: float | dict[str, float] = 0.0) -> tuple[int, str, str]:
        def open_runner(bundle: Bundle, plan: Path) -> Runner:
            precision = load_sidecar(sidecar_path(plan)).precision
            return Runner(bundle, plan, error if isinstance(error, float) else error[precision])
        monkeypatch.setattr(cli, 'Plant', functools.partial(
            Plant, open_runner=open_runner, identify=lambda: ORIN))
        monkeypatch.setenv('TRTEXEC', str(program))
        code = cli.main([str(bundle_folder), *arguments])
        seen = capsys.readouterr()
        return code, seen.out, seen.err
    return run


def test_an_engine_and_its_note_are_written_and_accepted(bundle_folder: Path,
                                                         run_tool: RunTool) -> None:
    code, said, progress = run_tool()
    assert (code, progress.count('building fp32 with TensorRT 10.3.0 (trtexec)')) == (0, 2)
    plan = bundle_folder / 'engines' / 'tripod-fp32.plan'
    assert sorted(path.name for path in plan.parent.iterdir()) == ['tripod-fp32.json',
                                                                   'tripod-fp32.plan']
    note = check_engine(plan, load_bundle(bundle_folder), MACHINE)
    assert (note.tensorrt_version, note.gpu_name, note.compute_capability, note.builder) == (
        '10.3.0.30', 'Orin', '8.7', 'trtexec')
    assert note.command_line.endswith(f'--saveEngine={plan} --memPoolSize=workspace:256 --noTF32 '
                                      '--skipInference')
    assert note.proof is not None
    golden = load_bundle(bundle_folder).golden
    assert note.proof.rows == RANDOM_ROWS + len(golden.observations) + len(golden.chain_command)
    assert (note.proof.fit, note.proof.worst_raw) == (True, 0.0)
    assert 'proof        fit: largest difference 0 in raw action, 0 rad' in said


def test_an_engine_that_answers_wrongly_is_marked_and_refused(bundle_folder: Path,
                                                              run_tool: RunTool) -> None:
    code, said, advice = run_tool('--precision', 'fp16', error=0.125)
    assert code == 1
    assert 'proof        UNFIT: largest difference 0.13 in raw action, 0.13 rad' in said
    assert advice.splitlines()[-1] == (
        'build_engine: the engine is marked unfit and no node will load it; build it with '
        '--precision fp32, or with --auto-precision')
    plan = bundle_folder / 'engines' / 'tripod-fp16.plan'
    with pytest.raises(EngineError, match=r'is marked unfit: .* by 0\.125 rad'):
        check_engine(plan, load_bundle(bundle_folder), MACHINE)


def test_auto_precision_takes_the_first_that_is_fit(bundle_folder: Path,
                                                    run_tool: RunTool) -> None:
    code, said, _ = run_tool('--precision', 'fp16', '--auto-precision',
                             error={'fp16': 0.125, 'fp32': 0.0})
    assert code == 0
    assert 'no fp16 engine was written\n  proof        UNFIT' in said
    assert sorted(path.name for path in (bundle_folder / 'engines').iterdir()) == [
        'tripod-fp32.json', 'tripod-fp32.plan']


def test_an_fp32_engine_that_answers_wrongly_has_no_fallback(run_tool: RunTool) -> None:
    code, _, advice = run_tool('--auto-precision', error=0.5)
    assert code == 1
    assert 'run the policy with backend: onnxruntime' in advice


def prove(folder: Path, program: Path, open_runner: Callable[..., Any]) -> Outcome:
    bundle = load_bundle(folder)
    plant = Plant(trtexec_tool(program, (10, 3, 0)), realistic_rows(bundle), open_runner,
                  lambda: ORIN)
    return build_engine(EngineRequest(bundle), plant, folder / 'engines' / 'x.plan')


def test_an_engine_that_cannot_be_run_here_is_written_unproven(bundle_folder: Path,
                                                               program: Path) -> None:
    def refuse(*_: Any) -> None:
        raise MissingDependencyError('pycuda', 'to run engines', 'pip install pycuda')
    proof = prove(bundle_folder, program, refuse).proof
    assert proof.fit is None
    assert proof.note == ('pycuda is not installed; it is needed to run engines. Install it with: '
                          'pip install pycuda')
    check_engine(bundle_folder / 'engines' / 'x.plan', load_bundle(bundle_folder), MACHINE)


def test_an_engine_that_does_not_load_is_unfit(bundle_folder: Path, program: Path) -> None:
    def refuse(*_: Any) -> None:
        raise EngineError('TensorRT does not load it')
    proof = prove(bundle_folder, program, refuse).proof
    assert (proof.fit, proof.note) == (False, 'TensorRT does not load it')


def test_an_answer_that_is_no_number_is_unfit(bundle_folder: Path, program: Path) -> None:
    proof = prove(bundle_folder, program, functools.partial(Runner, error=np.nan)).proof
    assert (proof.fit, proof.worst_raw) == (False, None)


def test_without_a_gpu_the_tool_says_who_will_check(bundle_folder: Path, program: Path,
                                                    run_tool: RunTool,
                                                    monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    run_tool('--dry-run')
    monkeypatch.setattr(cli, 'Plant', functools.partial(Plant, identify=lambda: ('', '')))
    assert cli.main([str(bundle_folder)]) == 0
    assert ('not run: no NVIDIA GPU is visible on this machine; the node will compare the engine '
            'with the golden vectors when it is configured') in capsys.readouterr().out


def test_a_failed_build_leaves_the_older_engine_and_nothing_else(
        bundle_folder: Path, run_tool: RunTool, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tool()
    engines = bundle_folder / 'engines'
    before = {path.name: path.read_bytes() for path in engines.iterdir()}
    monkeypatch.setenv('STAND_IN_FAULT', 'memory')
    code, _, error = run_tool('--log', str(bundle_folder / 'log'))
    assert code == 2
    assert error.splitlines()[-1].startswith('build_engine: trtexec could not build the engine: ')
    assert error.count('\n') == 3  # begin, end, one sentence
    assert {path.name: path.read_bytes() for path in engines.iterdir()} == before
    assert '&&&& FAILED' in (bundle_folder / 'log').read_text()


def test_an_engine_is_replaced_with_its_note(bundle_folder: Path, run_tool: RunTool) -> None:
    run_tool()
    run_tool('--workspace', '64')
    note = load_sidecar(bundle_folder / 'engines' / 'tripod-fp32.json')
    assert '--memPoolSize=workspace:64' in note.command_line
    check_engine(bundle_folder / 'engines' / 'tripod-fp32.plan', load_bundle(bundle_folder),
                 MACHINE)


def test_if_the_note_cannot_be_put_in_place_the_old_pair_returns(tmp_path: Path) -> None:
    plan = tmp_path / 'engines' / 'x.plan'
    plan.parent.mkdir()
    plan.write_text('old plan')
    plan.with_suffix('.json').write_text('old note')
    with pytest.raises(EngineError, match='cannot write'), whole_engine(plan) as partial:
        partial.write_text('new plan')  # and no note
    assert (plan.read_text(), plan.with_suffix('.json').read_text()) == ('old plan', 'old note')
    assert len(list(plan.parent.iterdir())) == 2


def test_an_engine_of_another_tensorrt_than_the_builder_said_is_refused(bundle_folder: Path,
                                                                        program: Path) -> None:
    bundle = load_bundle(bundle_folder)
    tool = replace(trtexec_tool(program, (10, 3, 0)), version=(10, 7, 0))
    plant = Plant(tool, realistic_rows(bundle), Runner, lambda: ORIN)
    with pytest.raises(EngineError, match=r'wrote an engine of TensorRT 10\.3\.0\.30 .*mixed'):
        build_engine(EngineRequest(bundle), plant, bundle_folder / 'engines' / 'x.plan')
    assert not list((bundle_folder / 'engines').iterdir())


@pytest.mark.parametrize(('version', 'precision', 'ending'), [
    ('8.5', 'fp16', '--memPoolSize=workspace:256 --fp16 --noTF32 --buildOnly\n'),
    ('10.3', 'fp32', '--memPoolSize=workspace:256 --noTF32 --skipInference\n'),
    ('11.1', 'fp16', '--memPoolSize=workspace:256 --noTF32 --skipInference\n')])
def test_a_dry_run_prints_the_command_line_and_writes_nothing(
        bundle_folder: Path, run_tool: RunTool, version: str, precision: str,
        ending: str) -> None:
    code, said, error = run_tool('--dry-run', '--tensorrt-version', version, '--precision',
                                 precision)
    assert (code, error) == (0, '')
    assert said.startswith(f'# TensorRT {version} (trtexec)\n')
    assert said.endswith(ending)
    assert ('converted to half precision' in said) == (version == '11.1')
    assert not (bundle_folder / 'engines').exists()


def test_the_program_itself(bundle_folder: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / 'tools' / 'build_engine.py'),
                           str(bundle_folder), '--dry-run', '--tensorrt-version', '10.3'],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines()[1].startswith('trtexec --onnx=')


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (['--tensorrt-version', '10.3'], '--tensorrt-version is for --dry-run alone'),
    (['--dry-run', '--tensorrt-version', 'ten'], "the TensorRT version is 'ten', expected"),
    (['--dry-run', '--tensorrt-version', '8.2'], 'TensorRT 8.2 is too old, expected 8.5'),
    (['--max-batch', '4'], '--max-batch is 4, but '),
    (['--name', '../x'], "the engine's name is '../x', expected a plain file name"),
    (['--trtexec', '/nowhere/trtexec'], '/nowhere/trtexec is no program, expected trtexec'),
    (['--precision', 'int8', '--calibration-npz', '/nowhere.npz'], '/nowhere.npz cannot be read'),
    (['--precision', 'int8'], 'has 1 linear layers, expected at least 3 for int8'),
])
def test_a_mistake_is_told_in_one_sentence(run_tool: RunTool, bundle_folder: Path,
                                           arguments: list[str], sentence: str) -> None:
    code, _, error = run_tool(*arguments)
    assert code == 2
    assert sentence in error
    assert error.startswith('build_engine: ')
    assert error.count('\n') == 1
    assert not list(bundle_folder.glob('engines/*'))


@pytest.mark.parametrize(('builder', 'sentence'), [
    ('auto', "neither trtexec nor Python's tensorrt or tensorrt_rtx was found"),
    ('trtexec', 'no trtexec was found'), ('python', "not Python's tensorrt or tensorrt_rtx was")])
def test_where_nothing_is_installed_the_tool_says_what_to_install(
        monkeypatch: pytest.MonkeyPatch, bundle_folder: Path, builder: str, sentence: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(engine_tools, 'find_trtexec', lambda _: None)
    monkeypatch.setattr(engine_tools, 'import_tensorrt', lambda: None)
    assert cli.main([str(bundle_folder), '--builder', builder]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert 'sudo apt install libnvinfer-bin' in error


def test_an_interruption_is_no_traceback(run_tool: RunTool, monkeypatch: pytest.MonkeyPatch,
                                         bundle_folder: Path) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(engine_tools, 'run_trtexec', interrupt)
    code, _, error = run_tool()
    assert code == 130
    assert error.endswith('build_engine: interrupted; nothing was written\n')
    assert not list((bundle_folder / 'engines').iterdir())


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_moves_and_shows_the_newest_of_the_log() -> None:
    terminal = Terminal()
    deadline = time.monotonic() + 20.0
    with Progress('building', terminal) as progress:
        progress.add('[11/22/2026-10:00:00] [V] [TRT] Timing Runner')
        while 's  Timing Runner' not in terminal.getvalue() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    shown = terminal.getvalue()
    assert 'building: 0 s  Timing Runner' in shown
    assert shown.count('\n') == 1
    assert shown.endswith(f'building: {progress.seconds:.1f} s\n')


def test_no_driver_is_no_gpu() -> None:
    assert gpu_identity('libnowhere.so.1') == ('', '')
