"""An export answers as training did, is the same every time, and is written whole or not."""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sim2real_policy.bundle import load_bundle, sha256_of
from sim2real_policy.offline import export_onnx, self_check
from sim2real_policy.offline.export_onnx import main
from sim2real_policy.offline.onnx_session import open_session
from sim2real_policy.offline.reference_chain import ReferenceChain, Sample

torch = pytest.importorskip('torch', reason='PyTorch exports networks; make test EXPORT=1')
pytest.importorskip('onnxruntime', reason='checks what was exported')
pytest.importorskip('onnx', reason="PyTorch's exporter imports it")
pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[1]
PUP = ROOT / 'test' / 'data' / 'pup_run'
SHIPPED = ROOT / 'sim2real_policy' / 'simulation' / 'pup' / 'bundle'
TOY_JOINTS = 'l_hip,r_hip,torso,l_knee,r_knee,l_ankle,r_ankle'
TOY_WIDTH, TOY_ACTIONS = 51, 5
FILES = ['contract.yaml', 'golden.npz', 'policy.onnx']


@pytest.fixture(scope='module')
def pup_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('export') / 'pup'
    assert main([str(PUP), '-o', str(output)]) == 0
    return output


def make_toy_run(folder: Path, width: int = TOY_WIDTH, actions: int = TOY_ACTIONS,
                 agent: str = 'policy: {activation: tanh}\nclip_actions: 0.5\n') -> Path:
    """Make a run of Isaac Lab 2.3 with a network of one hidden layer and no normaliser."""
    (folder / 'params').mkdir(parents=True)
    shutil.copy(ROOT / 'test' / 'data' / 'isaaclab' / 'toy_env.yaml', folder / 'params/env.yaml')
    (folder / 'params' / 'agent.yaml').write_text(agent)
    generator = torch.Generator().manual_seed(1)
    torch.save({'model_state_dict': {
        'actor.0.weight': torch.randn(8, width, generator=generator),
        'actor.0.bias': torch.ones(8),
        'actor.2.weight': torch.randn(actions, 8, generator=generator),
        'actor.2.bias': torch.zeros(actions), 'std': torch.ones(actions)}, 'iter': 3},
        folder / 'model_3.pt')
    return folder


def ask(path: Path, observations: Any) -> Any:
    session = open_session(path)
    return session.run(None, {session.get_inputs()[0].name: observations})[0]


def test_the_network_answers_as_the_trainers_own_export(pup_bundle: Path) -> None:
    observations = np.random.default_rng(5).standard_normal((200, 45)).astype(np.float32)
    session = open_session(PUP / 'policy.onnx')  # it takes one row at a time
    theirs = np.concatenate([session.run(None, {'obs': row[None]})[0] for row in observations])
    ours = ask(pup_bundle / 'policy.onnx', observations)
    assert np.abs(ours - theirs).max() < 1e-5  # seen: 0.0, with actions up to 22


def test_the_bundle_is_complete_and_says_where_it_comes_from(pup_bundle: Path) -> None:
    bundle = load_bundle(pup_bundle)
    assert sorted(path.name for path in pup_bundle.iterdir()) == FILES
    origin = bundle.contract.provenance
    assert origin['framework'] == 'mjlab'
    assert origin['checkpoint'] == 'model_750.pt'
    assert origin['checkpoint_sha256'] == sha256_of(PUP / 'model_750.pt')
    assert origin['iteration'] == 750
    assert bundle.contract.network.input == 'observations'
    session = open_session(bundle.onnx_path)
    assert [(tensor.name, tensor.shape) for tensor in
            (*session.get_inputs(), *session.get_outputs())] == [
        ('observations', ['batch', 45]), ('actions', ['batch', 12])]


def test_the_golden_vectors_hold(pup_bundle: Path) -> None:
    golden = load_bundle(pup_bundle).golden
    found = ask(pup_bundle / 'policy.onnx', golden.observations)
    assert np.abs(found - golden.actions).max() < 1e-4
    found = ask(pup_bundle / 'policy.onnx', golden.chain_observation)
    assert np.abs(found - golden.chain_raw_action).max() < 1e-4
    last_action = golden.chain_observation[:, 30:42]
    assert not last_action[0].any()
    assert np.array_equal(last_action[1:], golden.chain_raw_action[:-1])
    default = load_bundle(pup_bundle).contract.joints.default_position
    assert golden.chain_target == pytest.approx(
        np.array(default) + 0.25 * golden.chain_raw_action, abs=1e-6)
    assert np.linalg.norm(golden.chain_quaternion_xyzw, axis=1) == pytest.approx(1.0)
    assert golden.chain_command.any(axis=1).all()


def test_two_exports_differ_in_their_date_alone(pup_bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / 'again'
    assert main([str(PUP), '-o', str(again)]) == 0
    for name in ('golden.npz', 'policy.onnx'):
        assert (again / name).read_bytes() == (pup_bundle / name).read_bytes()

    def undated(folder: Path) -> list[str]:
        lines = (folder / 'contract.yaml').read_text().split('date:')
        assert len(lines) == 2
        return [lines[0], lines[1].split(',', 1)[-1]]

    assert undated(again) == undated(pup_bundle)


def test_the_shipped_bundle_is_an_export_of_this_run(pup_bundle: Path) -> None:
    shipped, fresh = load_bundle(SHIPPED), load_bundle(pup_bundle)
    own = {'network': None, 'provenance': {}}
    assert shipped.contract.model_copy(update=own) == fresh.contract.model_copy(update=own)
    assert shipped.contract.provenance['checkpoint_sha256'] == sha256_of(PUP / 'model_750.pt')
    found = ask(SHIPPED / 'policy.onnx', fresh.golden.observations)
    assert np.abs(found - fresh.golden.actions).max() < 1e-4


def test_an_isaac_lab_run_with_raw_clip_and_history(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_toy_run(tmp_path / 'toy')
    assert main([str(run), '-o', str(tmp_path / 'out'), '--joint-names', TOY_JOINTS,
                 '--name', 'biped']) == 0
    printed = capsys.readouterr().out
    for part in ("policy 'biped'", 'period       0.02 s', 'observation  51 values',
                 '3 x 3  ang (base_ang_vel)  scale 0.2', 'raw clip -0.5 to 0.5', 'rad, over 1100',
                 'delayed its targets by up to 4 physics steps'):
        assert part in printed
    bundle = load_bundle(tmp_path / 'out')
    golden, contract = bundle.golden, bundle.contract
    assert (np.abs(golden.chain_raw_action) > 0.5).any()  # the network's own answer, unclipped
    chain = ReferenceChain(contract)
    for step in range(len(golden.chain_command)):
        sample = Sample(*(getattr(golden, f'chain_{field}')[step]
                          for field in Sample.__dataclass_fields__))
        assert np.array_equal(chain.observe(sample), golden.chain_observation[step])
        assert np.array_equal(chain.act(golden.chain_raw_action[step]), golden.chain_target[step])
    assert np.abs(golden.chain_observation[1:, 45:50]).max() <= 0.5  # last_action is clipped


def refused(capsys: pytest.CaptureFixture[str], output: Path, *arguments: str) -> str:
    before = sorted(output.parent.rglob('*'))
    assert main([*arguments, '-o', str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.startswith('export_onnx: ')
    assert captured.err.count('\n') == 1
    assert sorted(output.parent.rglob('*')) == before
    return captured.err


@pytest.mark.parametrize(('options', 'reason'), [
    ({'width': 50}, 'takes 50 values, but the observation terms of env.yaml have 51'),
    ({'actions': 4}, 'gives 4 values, but the action terms of env.yaml have 5'),
    ({'actions': 10}, 'a standard deviation that depends on the state'),
    ({'agent': 'policy: {}\n'}, 'agent.yaml has no activation for the actor'),
    ({'agent': 'empirical_normalization: true\npolicy: {activation: elu}\n'},
     'agent.yaml says that observations are normalised'),
    ({'agent': 'policy: {activation: sine}\n'}, "activation holds 'sine'"),
])
def test_parts_that_do_not_fit_are_refused(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any],
        reason: str) -> None:
    run = make_toy_run(tmp_path / 'toy', **options)
    assert reason in refused(capsys, tmp_path / 'out', str(run), '--joint-names', TOY_JOINTS)


def test_mistakes_of_the_user_are_one_sentence(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_toy_run(tmp_path / 'toy'), tmp_path / 'out'
    joints = ('--joint-names', TOY_JOINTS)
    assert 'there is no training run' in refused(capsys, out, str(tmp_path / 'absent'))
    assert 'Give it with --joint-names' in refused(capsys, out, str(run))
    assert 'there is no checkpoint at' in refused(
        capsys, out, str(run), *joints, '--checkpoint', str(tmp_path / 'absent.pt'))
    assert 'not a checkpoint' in refused(
        capsys, out, str(run), *joints, '--checkpoint', str(run / 'params' / 'agent.yaml'))
    (tmp_path / 'file').write_text('')
    assert 'is not a policy bundle' in refused(
        capsys, tmp_path / 'file', str(run), *joints, '--force')
    assert 'cannot write' in refused(capsys, tmp_path / 'file' / 'out', str(run), *joints)
    (run / 'model_3.pt').unlink()
    assert 'has no checkpoint' in refused(capsys, out, str(run), *joints)


def test_force_replaces_a_bundle_and_nothing_else(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_toy_run(tmp_path / 'toy'), tmp_path / 'out'
    arguments = [str(run), '--joint-names', TOY_JOINTS]
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'thesis.txt').write_text('years of work')
    assert 'is not a policy bundle' in refused(capsys, tmp_path / 'home', *arguments, '--force')
    assert main([*arguments, '-o', str(out)]) == 0
    capsys.readouterr()
    assert 'exists, expected a free path' in refused(capsys, out, *arguments)
    (out / 'engines').mkdir()
    assert main([*arguments, '-o', str(out), '--force', '--name', 'second']) == 0
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert load_bundle(out).contract.name == 'second'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['home', 'out', 'toy']


def test_a_network_that_differs_is_not_written(
        tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_toy_run(tmp_path / 'toy')
    build = export_onnx.build_network

    def noisy(actor: Any, activation: str) -> Any:
        network = build(actor, activation)
        real = self_check.answer
        monkeypatch.setattr(self_check, 'answer', lambda *rows: real(*rows) + np.float32(2e-3))
        return network

    monkeypatch.setattr(export_onnx, 'build_network', noisy)
    assert 'differs from the network of training by 0.002' in refused(
        capsys, tmp_path / 'out', str(run), '--joint-names', TOY_JOINTS)


@pytest.mark.parametrize('library', ['torch', 'onnx', 'onnxruntime'])
def test_a_missing_library_is_named(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
        library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert f'{library} is not installed' in refused(capsys, tmp_path / 'out', str(PUP))


def test_the_program_runs_from_anywhere(tmp_path: Path) -> None:
    tool = ROOT / 'tools' / 'export_onnx.py'
    done = subprocess.run([sys.executable, str(tool), 'absent', '-o', 'out'], cwd=tmp_path,
                          capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith('export_onnx: there is no training run at absent')
