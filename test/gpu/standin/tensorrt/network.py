"""Reads the few ONNX operators of which policies are made, as a list of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

ACTIVATIONS = {'Identity': 0, 'Elu': 1, 'Relu': 2, 'Tanh': 3, 'Sigmoid': 4}


class UnsupportedError(Exception):
    """Raised where a file is no network, or one of other operators."""


@dataclass(frozen=True)
class Tensor:
    """Shape and type of an input or output."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass
class Step:
    """
    out = activation(weight @ source + bias), or without weight: activation(source + other).

    ``weight`` has shape (outputs, inputs).
    """

    source: str
    out: str
    size: int
    weight: Any = None
    bias: Any = None
    other: str = ''
    activation: int = 0


@dataclass
class Network:
    """Inputs, outputs and the steps between."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        return self.inputs.get(name) or self.outputs[name]


def read_network(data: bytes) -> Network:
    """Read an ONNX file; one row, everything else is folded into it."""
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # noqa: BLE001  protobuf and the checker have errors of their own
        raise UnsupportedError(f'this is no network: {error}') from None
    network = Network(inputs=_tensors(model.graph.input), outputs=_tensors(model.graph.output))
    network.sizes = {name: _size(tensor) for name, tensor in network.inputs.items()}
    constants = {item.name: onnx.numpy_helper.to_array(item).astype(np.float32)
                 for item in model.graph.initializer}
    for node in model.graph.node:
        _add(network, node, constants)
    return network


def _tensors(values: Any) -> dict[str, Tensor]:
    return {value.name: Tensor(
        tuple(dim.dim_value if dim.HasField('dim_value') else -1
              for dim in value.type.tensor_type.shape.dim),
        onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in values}


def _size(tensor: Tensor) -> int:
    return int(np.prod([size for size in tensor.shape if size != -1]))


def _add(network: Network, node: Any, constants: dict[str, Any]) -> None:
    source, out = node.input[0], node.output[0]
    size = network.sizes.get(source, 0)
    if node.op_type in ACTIVATIONS:
        step = Step(source, out, size, activation=ACTIVATIONS[node.op_type])
        last = network.steps[-1] if network.steps else None
        if last is not None and last.out == source and not last.activation:
            last.activation, last.out = step.activation, out  # what TensorRT would fuse as well
            network.sizes[out] = last.size
            return
    elif node.op_type in ('Gemm', 'MatMul'):
        weight = constants[node.input[1]]
        transposed = any(item.name == 'transB' and item.i for item in node.attribute)
        weight = np.ascontiguousarray(weight if transposed else weight.T)
        bias = constants[node.input[2]].reshape(-1) if len(node.input) > 2 else None
        step = Step(source, out, weight.shape[0], weight, bias)
    elif node.op_type == 'Add' and node.input[1] not in constants:
        step = Step(source, out, size, other=node.input[1])
    else:
        raise UnsupportedError(f'No importer registered for op: {node.op_type}')
    network.steps.append(step)
    network.sizes[out] = step.size
