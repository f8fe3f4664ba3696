"""Finds and reads an rsl_rl checkpoint; loading it never runs code from the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.torch_library import import_torch

Array = NDArray[np.float32]
NEWEST = re.compile(r'model_(\d+)\.pt')
_LFS_POINTER = b'version https://git-lfs'


@dataclass(frozen=True)
class Layout:
    """Names in the files of one range of rsl_rl versions; ``known`` may stand beside the MLP."""

    versions: str
    state: str
    network: str
    normaliser: str
    known: tuple[str, ...]


_OLD = ('actor.', 'critic.', 'student.', 'teacher.', 'std', 'log_std', 'actor_obs_normalizer.',
        'critic_obs_normalizer.', 'student_obs_normalizer.', 'teacher_obs_normalizer.')
LAYOUTS = (
    Layout('4 or newer', 'actor_state_dict', 'mlp.', 'obs_normalizer.',
           ('mlp.', 'obs_normalizer.', 'std', 'log_std', 'distribution.')),
    Layout('2 or 3', 'model_state_dict', 'student.', 'student_obs_normalizer.', _OLD),
    Layout('2 or 3', 'model_state_dict', 'actor.', 'actor_obs_normalizer.', _OLD),
)
SEPARATE_NORMALISER = 'obs_norm_state_dict'  # rsl_rl 2 kept it beside the network
UNSUPPORTED = {'memory_a.': 'a recurrent network', 'memory_s.': 'a recurrent network',
               'rnn.': 'a recurrent network', 'cnn': 'a convolutional network',
               'actor_cnn': 'a convolutional network', 'student_cnn': 'a convolutional network'}


@dataclass(frozen=True)
class Actor:
    """
    The actor of a checkpoint: linear layers as (weight (out, in), bias (out,)), in order.

    ``mean`` and ``std``, shape (observation width,), are None where nothing is normalised.
    """

    layers: tuple[tuple[Array, Array], ...]
    mean: Array | None
    std: Array | None
    iteration: int | None
    layout: str

    @property
    def input_width(self) -> int:
        """Width of the observation."""
        return int(self.layers[0][0].shape[1])

    @property
    def output_width(self) -> int:
        """Width of the last layer."""
        return int(self.layers[-1][0].shape[0])


def newest_checkpoint(run: Path) -> Path:
    """
    Return the ``model_<iteration>.pt`` of the highest iteration.

    :param run: folder of the run.
    :raises ImportRunError: if there is none.
    """
    found = [(int(match[1]), path) for path in run.iterdir()
             if (match := NEWEST.fullmatch(path.name)) and path.is_file()]
    if not found:
        raise ImportRunError(f'{run} has no checkpoint, expected model_<iteration>.pt of rsl_rl; '
                             'copy it there, or name one with --checkpoint')
    return max(found)[1]


def read_checkpoint(path: Path) -> Actor:
    """
    Read the actor of a checkpoint.

    :param path: the file.
    :raises MissingDependencyError: if PyTorch is not installed.
    :raises ImportRunError: if it is not a checkpoint with a plain network of finite weights.
    """
    data = _load(path)
    layout, state = _find_network(data, path)
    _refuse_unknown_parts(state, layout, path)
    mean, std = _normaliser(data, state, layout, path)
    layers = _layers(state, layout.network, path)
    _check_chain(layers, mean, path)
    iteration = data.get('iter')
    return Actor(layers, mean, std, iteration if isinstance(iteration, int) else None,
                 f'rsl_rl {layout.versions}')


def _load(path: Path) -> dict[str, Any]:
    torch = import_torch()
    if not path.is_file():
        raise ImportRunError(f'there is no checkpoint at {path}; expected a file such as '
                             'model_1500.pt. Check the path')
    with path.open('rb') as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ImportRunError(f'{path} is a Git LFS pointer, expected a checkpoint; run: '
                                 'git lfs pull')
    try:
        data = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # noqa: BLE001  its unpickler raises anything on wrong bytes
        reason = str(error).strip().split('\n')[0]
        raise ImportRunError(f'{path} is not a checkpoint that can be loaded safely: '
                             f'{reason:.120}; expected a file of torch.save with tensors alone. '
                             'Copy it again, or name another with --checkpoint') from None
    if not isinstance(data, dict):
        raise ImportRunError(f'{path} holds {type(data).__name__}, expected the dictionary that '
                             "rsl_rl's runner saves; give model_*.pt and not an exported policy")
    return data


def _find_network(data: dict[str, Any], path: Path) -> tuple[Layout, Mapping[str, Any]]:
    for layout in LAYOUTS:
        state = data.get(layout.state)
        if isinstance(state, Mapping) and any(
                str(key).startswith(layout.network) for key in state):
            return layout, state
    for layout in LAYOUTS:
        if isinstance(data.get(layout.state), Mapping):
            _refuse_unknown_parts(data[layout.state], layout, path)
    raise ImportRunError(f'{path} has the parts {sorted(map(str, data))}, expected an actor as '
                         'rsl_rl saves it (actor_state_dict with mlp.*, or model_state_dict '
                         'with actor.*); give a checkpoint of rsl_rl')


def _refuse_unknown_parts(state: Mapping[str, Any], layout: Layout, path: Path) -> None:
    for key in map(str, state):
        for prefix, what in UNSUPPORTED.items():
            if key.startswith(prefix):
                raise ImportRunError(f"{path} holds {what} ('{key}'), expected a plain "
                                     'multilayer perceptron; train one, or extend '
                                     'sim2real_policy')
        if not key.startswith(layout.known):
            raise ImportRunError(f"{path} holds '{key}', which is not known from rsl_rl "
                                 f'{layout.versions}; expected a plain multilayer perceptron '
                                 f'with {", ".join(layout.known)}. Update sim2real_policy')


def _layers(state: Mapping[str, Any], prefix: str,
            path: Path) -> tuple[tuple[Array, Array], ...]:
    tensors = {str(key)[len(prefix):]: value for key, value in state.items()
               if str(key).startswith(prefix)}
    weights = sorted(int(name.split('.')[0]) for name in tensors
                     if re.fullmatch(r'\d+\.weight', name))
    # An activation stands between two linear layers, so these have the even places.
    expected = {f'{2 * index}.{part}' for index in range(len(weights))
                for part in ('weight', 'bias')}
    if set(tensors) != expected:
        odd = sorted(set(tensors) ^ expected)
        raise ImportRunError(f"{path}: the network's layers are not linear layers with one "
                             f"activation between them; '{prefix}{odd[0]}' differs. Expected a "
                             'plain multilayer perceptron; train one')
    return tuple((_array(tensors[f'{index}.weight'], f'{prefix}{index}.weight', path, 2),
                  _array(tensors[f'{index}.bias'], f'{prefix}{index}.bias', path, 1))
                 for index in weights)


def _normaliser(data: dict[str, Any], state: Mapping[str, Any], layout: Layout,
                path: Path) -> tuple[Array | None, Array | None]:
    prefix, source = layout.normaliser, state
    separate = data.get(SEPARATE_NORMALISER)
    if isinstance(separate, Mapping):
        prefix, source = '', separate
    if f'{prefix}_mean' not in source and f'{prefix}_std' not in source:
        return None, None
    for key in (f'{prefix}_mean', f'{prefix}_std'):
        if key not in source:
            raise ImportRunError(f"{path} has no '{key}' beside the other half of the "
                                 'normaliser; expected both. Copy the checkpoint again')
    mean, std = (_array(source[f'{prefix}{name}'], f'{prefix}{name}', path, 2).reshape(-1)
                 for name in ('_mean', '_std'))
    if mean.shape != std.shape or (std < 0.0).any():
        raise ImportRunError(f'{path}: the normaliser has mean of shape {mean.shape} and std of '
                             f'shape {std.shape} from {std.min():g}; expected equal shapes and '
                             'no negative std. The checkpoint is damaged: copy it again')
    return mean, std


def _array(tensor: Any, name: str, path: Path, dimensions: int) -> Array:
    torch = import_torch()
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != dimensions \
            or not tensor.is_floating_point():
        raise ImportRunError(f"{path}: '{name}' is not a tensor of {dimensions} dimensions with "
                             'real numbers, as rsl_rl saves it; copy the checkpoint again')
    array: Array = tensor.detach().float().numpy()
    if not np.isfinite(array).all():
        raise ImportRunError(f"{path}: '{name}' has {int((~np.isfinite(array)).sum())} values "
                             'that are not finite, expected none: the training diverged. Name '
                             'an earlier checkpoint with --checkpoint')
    return array


def _check_chain(layers: tuple[tuple[Array, Array], ...], mean: Array | None,
                 path: Path) -> None:
    widths = [layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers)]
    for index, (weight, bias) in enumerate(layers):
        if weight.shape != (widths[index + 1], widths[index]) or bias.shape != weight.shape[:1]:
            raise ImportRunError(f'{path}: layer {index} has weights of shape {weight.shape} and '
                                 f'a bias of shape {bias.shape}, expected {widths[index]} '
                                 'inputs. The checkpoint is damaged: copy it again')
    if mean is not None and len(mean) != widths[0]:
        raise ImportRunError(f'{path}: the normaliser has {len(mean)} values, expected '
                             f'{widths[0]}, the width of the network. The checkpoint is '
                             'damaged: copy it again')
