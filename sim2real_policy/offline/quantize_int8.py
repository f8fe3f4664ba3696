"""Writes a network with explicit int8: pairs of Quantize and Dequantize around its layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Bundle
from sim2real_policy.errors import EngineError, MissingDependencyError
from sim2real_policy.offline.onnx_session import open_session
from sim2real_policy.offline.quantize_fp16 import import_onnx

F32 = NDArray[np.float32]
ENOUGH_OBSERVATIONS = 500
_QUANTISED = ('Gemm', 'MatMul')
# Gemm(x, W, bias) and MatMul(x, W); TensorRT takes no quantised bias and no zero point but 0.
_TENSORRT_RULES = {'ActivationSymmetric': True, 'WeightSymmetric': True,
                   'AddQDQPairToWeight': True, 'QuantizeBias': False,
                   'OpTypesToExcludeOutputQuantization': list(_QUANTISED)}


def quantize_to_int8(bundle: Bundle, output: Path, observations: F32) -> None:
    """
    Write the network with its inner layers in int8, one scale per tensor, calibrated.

    The first and the last layer stay float32: on small policies they carry half of the error.

    :param bundle: the policy.
    :param output: where to write.
    :param observations: what the robot sees, shape (n, observation width); their largest
        values become the ranges.
    :raises MissingDependencyError: if onnx or onnxruntime is not installed.
    :raises EngineError: if there is no inner layer.
    """
    onnx = import_onnx()
    quantization = _import_quantization()
    model = onnx.load(str(bundle.onnx_path))
    layers = [node for node in model.graph.node if node.op_type in _QUANTISED]
    if len(layers) < 3:
        raise EngineError(f'{bundle.onnx_path} has {len(layers)} linear layers, expected at least '
                          '3 for int8, which leaves the first and the last as they are; take '
                          '--precision fp16 or fp32')
    names = [node.name for node in model.graph.node]
    if not all(names) or len(set(names)) < len(names):
        for index, node in enumerate(model.graph.node):
            node.name = f'{node.op_type}_{index}'
    with _quiet():
        quantization.quantize_static(
            model, str(output), _reader(quantization, bundle, observations),
            quant_format=quantization.QuantFormat.QDQ, per_channel=False,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=[layers[0].name, layers[-1].name], extra_options=_TENSORRT_RULES)


def _import_quantization() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingDependencyError('onnxruntime', 'to calibrate int8',
                                     'pip install onnxruntime onnx') from error
    return quantization


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice about image networks to itself."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _reader(quantization: Any, bundle: Bundle, observations: F32) -> Any:
    class Reader(quantization.CalibrationDataReader):
        """Feeds one observation after the other."""

        def __init__(self) -> None:
            self._feeds = feeds(bundle, observations)

        def get_next(self) -> dict[str, F32] | None:
            return next(self._feeds, None)
    return Reader()


def feeds(bundle: Bundle, observations: F32) -> Iterator[dict[str, F32]]:
    """
    Yield the inputs of the network for one observation after the other.

    :param bundle: the policy; its recurrent state goes from each observation to the next.
    :param observations: shape (n, observation width).
    """
    network = bundle.contract.network
    session = open_session(bundle.onnx_path) if network.recurrent else None
    states = {state.input: np.zeros(state.shape, dtype=np.float32)
              for state in network.recurrent}
    for row in observations:
        feed = {network.input: row[None], **states}
        yield feed
        if session is not None:
            after = session.run([state.output for state in network.recurrent], feed)
            states = dict(zip(states, after, strict=True))


def read_observations(path: Path, width: int) -> F32:
    """
    Read recorded observations.

    :param path: ``.npy``, or ``.npz`` with an array ``observations``.
    :param width: of one observation.
    :raises EngineError: if they are not there, or of another shape.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        rows = loaded['observations'] if path.suffix == '.npz' else loaded
    except Exception as error:  # noqa: BLE001  zipfile, zlib, KeyError: damage has many names
        raise EngineError(f'{path} cannot be read: {error}; expected .npy, or .npz with an array '
                          'named observations') from None
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows) or rows.dtype.kind != 'f' \
            or not np.isfinite(rows).all():
        raise EngineError(f'{path} holds {rows.dtype} of shape {rows.shape}, expected finite '
                          f'observations of shape (n, {width})')
    return np.ascontiguousarray(rows, dtype=np.float32)
