"""The actor comes out of every rsl_rl layout the same, and anything else is refused by name."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.checkpoint import newest_checkpoint, read_checkpoint
from sim2real_policy.offline.torch_actor import answer, build_network

torch = pytest.importorskip('torch', reason='PyTorch reads checkpoints; make test EXPORT=1')
pytestmark = pytest.mark.torch

PUP = Path(__file__).parent / 'data' / 'pup_run' / 'model_750.pt'
WEIGHT = torch.tensor([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.0]])
HEAD = torch.tensor([[1.0, -1.0, 2.0]])


def mlp(prefix: str) -> dict[str, Any]:
    return {f'{prefix}2.weight': HEAD, f'{prefix}2.bias': torch.tensor([0.25]),
            f'{prefix}0.weight': WEIGHT, f'{prefix}0.bias': torch.tensor([0.0, 0.5, 1.0])}


def normaliser(prefix: str) -> dict[str, Any]:
    return {f'{prefix}_mean': torch.tensor([[1.0, -1.0]]), f'{prefix}_var': torch.ones(1, 2),
            f'{prefix}_std': torch.tensor([[0.99, 0.49]]), f'{prefix}count': torch.tensor(9)}


def layouts() -> dict[str, dict[str, Any]]:
    critic, std = mlp('critic.'), torch.ones(1)
    rest = {'optimizer_state_dict': {}, 'iter': 40, 'infos': None}
    return {
        '2.2': {'model_state_dict': {**mlp('actor.'), **critic, 'std': std},
                'obs_norm_state_dict': normaliser(''),
                'critic_obs_norm_state_dict': normaliser(''), **rest},
        '2.3 student': {'model_state_dict': {**mlp('student.'), **mlp('teacher.'), 'std': std},
                        'obs_norm_state_dict': normaliser(''), **rest},
        '3.1': {'model_state_dict': {**mlp('actor.'), **critic, 'log_std': std,
                                     **normaliser('actor_obs_normalizer.'),
                                     **normaliser('critic_obs_normalizer.')}, **rest},
        '4.0': {'actor_state_dict': {**mlp('mlp.'), 'std': std, **normaliser('obs_normalizer.')},
                'critic_state_dict': mlp('mlp.'), **rest},
        '5.4': {'actor_state_dict': {**mlp('mlp.'), 'distribution.log_std_param': std,
                                     **normaliser('obs_normalizer.')},
                'critic_state_dict': mlp('mlp.'), **rest},
    }


def save(tmp_path: Path, data: object) -> Path:
    path = tmp_path / 'model_40.pt'
    torch.save(data, path)
    return path


@pytest.mark.parametrize('version', layouts())
def test_every_layout_gives_the_same_actor(tmp_path: Path, version: str) -> None:
    actor = read_checkpoint(save(tmp_path, layouts()[version]))
    assert (actor.input_width, actor.output_width, actor.iteration) == (2, 1, 40)
    # x = (2, 0): normalised (1 / 1, 1 / 0.5) = (1, 2); relu of (5, 11.5, 0); 5 - 11.5 + 0.25
    network = build_network(actor, 'relu')
    found = answer(network, np.array([[2.0, 0.0]], np.float32))
    assert found == pytest.approx(np.array([[-6.25]]), abs=1e-6)


def test_without_a_normaliser_nothing_is_normalised(tmp_path: Path) -> None:
    actor = read_checkpoint(save(tmp_path, {'actor_state_dict': mlp('mlp.'), 'iter': 1}))
    assert actor.mean is None
    # x = (2, 0): relu of (2, 6.5, -1); 2 - 6.5 + 0.25
    found = answer(build_network(actor, 'relu'), np.array([[2.0, 0.0]], np.float32))
    assert found == pytest.approx(np.array([[-4.25]]), abs=1e-6)


@pytest.mark.parametrize(('activation', 'function'), [
    ('elu', torch.nn.functional.elu), ('crelu', torch.nn.functional.celu),
    ('lrelu', torch.nn.functional.leaky_relu), ('swish', torch.nn.functional.silu),
    ('gelu', torch.nn.functional.gelu), ('tanh', torch.tanh), ('identity', lambda x: x)])
def test_activations_by_their_name_in_rsl_rl(tmp_path: Path, activation: str,
                                             function: Callable[[Any], Any]) -> None:
    actor = read_checkpoint(save(tmp_path, {'actor_state_dict': mlp('mlp.')}))
    x = torch.tensor([[0.3, -0.7]])
    hidden = function(x @ WEIGHT.T + torch.tensor([0.0, 0.5, 1.0]))
    expected = (hidden @ HEAD.T + 0.25).numpy()
    assert answer(build_network(actor, activation), x.numpy()) == pytest.approx(expected, abs=1e-6)


def test_more_than_ten_layers_stay_in_order(tmp_path: Path) -> None:
    state = {}
    for index in range(0, 24, 2):
        state[f'mlp.{index}.weight'] = torch.full((1, 1), float(index))
        state[f'mlp.{index}.bias'] = torch.zeros(1)
    actor = read_checkpoint(save(tmp_path, {'actor_state_dict': state}))
    assert [float(weight[0, 0]) for weight, _ in actor.layers] == list(range(0, 24, 2))


def test_pup() -> None:
    actor = read_checkpoint(PUP)
    assert [weight.shape for weight, _ in actor.layers] == [
        (512, 45), (256, 512), (128, 256), (12, 128)]
    assert actor.iteration == 750
    assert actor.mean is not None and actor.mean.shape == (45,)


def test_the_newest_checkpoint_is_that_of_the_highest_iteration(tmp_path: Path) -> None:
    with pytest.raises(ImportRunError, match=r'has no checkpoint, expected model_<iteration>\.pt'):
        newest_checkpoint(tmp_path)
    for name in ('model_750.pt', 'model_1000.pt', 'model_99.pt', 'model_best.pt', 'x_2000.pt'):
        (tmp_path / name).touch()
    os.utime(tmp_path / 'model_750.pt', (2e9, 2e9))
    assert newest_checkpoint(tmp_path).name == 'model_1000.pt'


def changed(**changes: Any) -> dict[str, Any]:
    state = {**mlp('mlp.'), **normaliser('obs_normalizer.')}
    state.update({key.replace('__', '.'): value for key, value in changes.items()})
    return {'actor_state_dict': {key: value for key, value in state.items() if value is not None}}


NAN = torch.tensor([[1.0, float('nan'), float('inf')]])
REFUSED = [
    ({'epoch': 3, 'model': {}}, r"has the parts \['epoch', 'model'\]"),
    ([1, 2], 'holds list, expected the dictionary'),
    ({'model_state_dict': {'memory_a.rnn.weight_ih_l0': HEAD, **mlp('actor.')}}, 'a recurrent'),
    ({'actor_state_dict': {'rnn.rnn.weight_ih_l0': HEAD}}, 'a recurrent network'),
    ({'actor_state_dict': {'cnns.image.0.weight': HEAD, **mlp('mlp.')}}, 'a convolutional'),
    ({'actor_state_dict': {'encoder.0.weight': HEAD, **mlp('mlp.')}}, "holds 'encoder.0.weight'"),
    (changed(mlp__1__weight=torch.ones(3)), r"'mlp\.1\.weight' differs"),
    (changed(mlp__2__bias=None), r"'mlp\.2\.bias' differs"),
    (changed(mlp__2__weight=NAN), r"'mlp\.2\.weight' has 2 values that are not finite"),
    (changed(mlp__2__weight=torch.ones(1, 4)), r'layer 1 has weights of shape \(1, 4\)'),
    (changed(mlp__2__weight='text'), 'is not a tensor of 2 dimensions'),
    (changed(obs_normalizer___std=None), r"no 'obs_normalizer\._std' beside the other half"),
    (changed(obs_normalizer___std=-torch.ones(1, 2)), 'no negative std'),
    (changed(obs_normalizer___mean=torch.ones(1, 3), obs_normalizer___std=torch.ones(1, 3)),
     'the normaliser has 3 values, expected 2'),
    (changed(obs_normalizer___mean=NAN[:, :2]), 'are not finite'),
]


@pytest.mark.parametrize(('data', 'reason'), REFUSED)
def test_anything_else_is_refused(tmp_path: Path, data: object, reason: str) -> None:
    with pytest.raises(ImportRunError, match=reason):
        read_checkpoint(save(tmp_path, data))


class Payload:
    """Creates a file as soon as it is unpickled."""

    def __init__(self, victim: str) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.victim,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / 'victim'
    path = save(tmp_path, {'actor_state_dict': Payload(str(victim))})
    with pytest.raises(ImportRunError, match='can be loaded safely'):
        read_checkpoint(path)
    assert not victim.exists()


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'model_1.pt'
    for content in (b'', b'hello', PUP.read_bytes()[:100_000], b'PK\x03\x04' + bytes(200),
                    bytes(range(256)), b'\x80\x02}q\x00X'):
        path.write_bytes(content)
        with pytest.raises(ImportRunError, match='is not a checkpoint that can be loaded safely'):
            read_checkpoint(path)
    path.write_bytes(b'version https://git-lfs.github.com/spec/v1\n')
    with pytest.raises(ImportRunError, match='git lfs pull'):
        read_checkpoint(path)
    with pytest.raises(ImportRunError, match='there is no checkpoint at'):
        read_checkpoint(tmp_path / 'absent.pt')


def test_damaged_bytes_never_end_in_a_traceback(tmp_path: Path) -> None:
    whole = bytearray(save(tmp_path, layouts()['5.4']).read_bytes())
    generator = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 20):
            data[place] = generator.integers(0, 256)
        path = tmp_path / 'model_2.pt'
        path.write_bytes(data)
        try:
            read_checkpoint(path)
        except ImportRunError:
            continue
