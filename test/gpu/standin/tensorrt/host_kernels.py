"""The arithmetic on the CPU, for tests without a GPU."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from typing import Any

import numpy as np

from .network import Network

ACTIVATIONS = (
    lambda x: x,
    lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
    lambda x: np.maximum(x, 0.0),
    np.tanh,
    lambda x: 1.0 / (1.0 + np.exp(-x)),
)


class HostKernels:
    """Reads and writes the addresses as memory of this process."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def prepare(self, addresses: dict[str, int]) -> Callable[[int], None]:
        network = self._network
        views: dict[str, Any] = {}
        for name, address in addresses.items():
            dtype = np.dtype(network.tensor(name).dtype)
            size = network.sizes[name]
            memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(address)
            views[name] = np.frombuffer(memory, dtype=dtype)

        def run(stream_handle: int) -> None:
            values = {name: views[name].astype(np.float32) for name in network.inputs}
            for step in network.steps:
                result = values[step.source]
                if step.weight is not None:
                    result = step.weight @ result
                if step.bias is not None:
                    result = result + step.bias
                if step.other:
                    result = result + values[step.other]
                values[step.out] = ACTIVATIONS[step.activation](result).astype(np.float32)
            for name in network.outputs:
                views[name][:] = values[name]
        return run
