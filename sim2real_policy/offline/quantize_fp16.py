"""Converts a network to half precision, for versions that take the precision from the network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sim2real_policy.errors import EngineError, MissingDependencyError

LAYERS = ('Gemm', 'MatMul', 'Conv', 'LSTM', 'GRU', 'RNN')
_LARGEST, _SMALLEST = 65504.0, 6e-8  # of half precision


def import_onnx() -> Any:
    """
    Return the module ``onnx``.

    :raises MissingDependencyError: if it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError('onnx', 'to change the precision of a network',
                                     'pip install onnx') from error
    return onnx


def convert_to_fp16(source: Path, output: Path) -> None:
    """
    Write the network with half-precision layers; its inputs and outputs stay float32.

    What comes before the first layer (the normaliser) stays float32 too: raw observations may
    lie far from zero, where half precision is coarse.

    :param source: the network.
    :param output: where to write.
    :raises MissingDependencyError: if onnx or onnxruntime is not installed.
    :raises EngineError: if a weight does not fit.
    """
    onnx = import_onnx()
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise MissingDependencyError('onnxruntime', 'to convert networks to half precision',
                                     'pip install onnxruntime') from error
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype.kind == 'f' and values.size and abs(values).max() > _LARGEST:
            raise EngineError(f"{source}: '{tensor.name}' has values up to "
                              f'{abs(values).max():.3g}, half precision holds at most '
                              f'{_LARGEST:g}; take --precision fp32')
    half = convert_float_to_float16(
        model, min_positive_val=_SMALLEST, max_finite_val=_LARGEST, keep_io_types=True,
        node_block_list=before_first_layer(model.graph))
    _drop_detours(half.graph, onnx.TensorProto)
    _sort(half.graph)
    onnx.checker.check_model(half)
    onnx.save(half, str(output))


def before_first_layer(graph: Any) -> list[str]:
    """
    Return the names of the nodes that no layer comes before; nodes without a name get one.

    :param graph: of the network; its nodes are in order.
    """
    after: set[str] = set()
    found = []
    for index, node in enumerate(graph.node):
        node.name = node.name or f'{node.op_type}_{index}'
        if node.op_type in LAYERS or after & set(node.input):
            after |= set(node.output)
        else:
            found.append(node.name)
    return found


def _drop_detours(graph: Any, types: Any) -> None:
    """Replace float32 -> half -> float32, which the converter leaves, by a straight line."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == 'Cast'}
    straight = {}
    for name, back in casts.items():
        there = casts.get(back.input[0])
        if there is not None and _target(there) == types.FLOAT16 \
                and _target(back) == types.FLOAT:
            straight[name] = there.input[0]
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = straight.get(name, name)
    used = {name for node in graph.node for name in node.input} | outputs
    _keep(graph, (node for node in graph.node
                  if node.op_type != 'Cast' or node.output[0] in used))
    used = {name for node in graph.node for name in node.input} | outputs
    _keep(graph, (node for node in graph.node
                  if node.op_type != 'Cast' or node.output[0] in used))


def _target(cast: Any) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == 'to')


def _sort(graph: Any) -> None:
    """Put the nodes in an order in which each one's inputs come first, as ONNX demands."""
    waiting = list(graph.node)
    made = {name for node in waiting for name in node.output}
    ordered: list[Any] = []
    ready: set[str] = set()
    while waiting:
        now = [node for node in waiting
               if all(name in ready or name not in made for name in node.input)]
        ordered += now
        ready |= {name for node in now for name in node.output}
        waiting = [node for node in waiting if not any(node is other for other in now)]
    _keep(graph, ordered)


def _keep(graph: Any, nodes: Iterable[Any]) -> None:
    kept = list(nodes)
    copies = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
