"""Rebuilds the actor in PyTorch, with its normaliser, and answers as training's own did."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.offline.checkpoint import Actor
from sim2real_policy.offline.torch_library import import_torch

# The class is made where torch is known to be installed, so it has no type for mypy.
# mypy: allow-subclassing-any

Array = NDArray[np.float32]
# rsl_rl adds this to the standard deviation (EmpiricalNormalization, eps).
NORMALISER_EPSILON = 1e-2


def build_network(actor: Actor, activation: str) -> Any:
    """
    Return a ``torch.nn.Module`` in evaluation mode: (batch, observation) -> (batch, action).

    It answers with the mean of the action distribution and never samples.

    :param actor: weights and normaliser.
    :param activation: rsl_rl's name of the activation between the layers.
    :raises MissingDependencyError: if PyTorch is not installed.
    """
    torch = import_torch()
    modules: list[Any] = []
    if actor.mean is not None and actor.std is not None:
        modules.append(_normaliser(actor.mean, actor.std))
    for index, (weight, bias) in enumerate(actor.layers):
        if index:
            modules.append(_activation(activation))
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules.append(linear)
    return torch.nn.Sequential(*modules).eval().requires_grad_(requires_grad=False)


def _normaliser(mean: Array, std: Array) -> Any:
    torch = import_torch()
    module: Any = torch.nn.Module

    class Normaliser(module):
        """rsl_rl's: (x - mean) / (std + epsilon), in this order of operations."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer('mean', torch.from_numpy(mean))
            self.register_buffer('std', torch.from_numpy(std))

        def forward(self, observations: Any) -> Any:
            return (observations - self.mean) / (self.std + NORMALISER_EPSILON)

    return Normaliser()


def _activation(name: str) -> Any:
    # rsl_rl's names; its 'crelu' is CELU, and 'lrelu' has PyTorch's default slope of 0.01.
    nn = import_torch().nn
    classes = {'elu': nn.ELU, 'selu': nn.SELU, 'relu': nn.ReLU, 'crelu': nn.CELU,
               'lrelu': nn.LeakyReLU, 'tanh': nn.Tanh, 'sigmoid': nn.Sigmoid,
               'identity': nn.Identity, 'softplus': nn.Softplus, 'gelu': nn.GELU,
               'swish': nn.SiLU, 'mish': nn.Mish}
    return classes[name]()


def answer(network: Any, observations: Array) -> Array:
    """
    Return the network's actions, row by row, because a batch of several rounds differently.

    :param network: from ``build_network``.
    :param observations: shape (n, observation width).
    """
    torch = import_torch()
    with torch.inference_mode():
        rows = [network(torch.from_numpy(row[None].copy())).numpy() for row in observations]
    return np.concatenate(rows).astype(np.float32)
