"""
Builds an engine through TensorRT's Python module, where there is no trtexec.

Names that some version lacks stand behind ``hasattr``; test_tensorrt_names.py compares all of them
with the real modules of TensorRT 8.6 to 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import importlib
from pathlib import Path
from typing import Any

from sim2real_policy.engine_file import TENSORRT, TENSORRT_RTX
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_advice import with_advice
from sim2real_policy.offline.engine_request import EngineRequest, NetworkShapes
from sim2real_policy.tensorrt_network import captured_log

Say = Callable[[str], None]
MODULES = ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings')
# The wheel that carries the libraries of TensorRT for RTX loads them when it is imported.
_RTX_LIBRARIES = 'onnxruntime_ep_nv_tensorrt_rtx'
_MIB = 1 << 20


def import_tensorrt(modules: Sequence[str] = MODULES) -> tuple[Any, str] | None:
    """
    Return TensorRT's module and which product it is, or None where none is installed.

    :param modules: names to try, in this order.
    """
    for name in modules:
        rtx = name != TENSORRT
        try:
            if rtx:
                _import_if_there(_RTX_LIBRARIES)
            return importlib.import_module(name), TENSORRT_RTX if rtx else TENSORRT
        except ImportError:
            continue
    return None


def _import_if_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        return


def build_plan(trt: Any, onnx: Path, request: EngineRequest, shapes: NetworkShapes,
               say: Say) -> bytes:
    """
    Return the bytes of an engine.

    :param trt: TensorRT's module.
    :param onnx: the network; converted already where ``request.converts(version)``.
    :param request: the options.
    :param shapes: of the network's inputs.
    :param say: takes the lines of the log, from any thread.
    :raises EngineError: with the first error that TensorRT named, and advice.
    """
    errors: list[str] = []
    logger = captured_log(trt)  # the one that the proof will have, too
    logger.listener = lambda letter, text: _note(f'[{letter}] {text}', errors, say)
    try:
        return _build(trt, logger, onnx, request, shapes, errors)
    finally:
        logger.listener = None


def _build(trt: Any, logger: Any, onnx: Path, request: EngineRequest, shapes: NetworkShapes,
           errors: list[str]) -> bytes:
    builder = trt.Builder(logger)
    network = builder.create_network(_creation_flags(trt, request))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors[:0] = [_parser_error(parser.get_error(index))
                      for index in range(parser.num_errors)]
        raise _failed(errors, 'the network was not understood')
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace * _MIB)
    # TF32 is on by default and costs three decimal digits.
    config.clear_flag(trt.BuilderFlag.TF32)
    _set_precision(trt, config, request)
    _add_profile(builder, config, shapes, errors)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(errors, 'no reason was given')
    return bytes(plan)


def _creation_flags(trt: Any, request: EngineRequest) -> int:
    known = trt.NetworkDefinitionCreationFlag
    flags = 0
    # Needed before 10, gone in 11, where the same bit means something else.
    if hasattr(known, 'EXPLICIT_BATCH'):
        flags |= 1 << int(known.EXPLICIT_BATCH)
    if request.strongly_typed and hasattr(known, 'STRONGLY_TYPED'):
        flags |= 1 << int(known.STRONGLY_TYPED)
    return flags


def _set_precision(trt: Any, config: Any, request: EngineRequest) -> None:
    if request.strongly_typed:
        return
    known = trt.BuilderFlag
    # From TensorRT 11 on, and for RTX, the precision stands in the network.
    if request.precision == 'fp16' and hasattr(known, 'FP16'):
        config.set_flag(known.FP16)
    if request.precision == 'int8' and hasattr(known, 'INT8'):
        config.set_flag(known.INT8)


def _add_profile(builder: Any, config: Any, shapes: NetworkShapes, errors: list[str]) -> None:
    if not shapes.open_inputs:
        return
    profile = builder.create_optimization_profile()
    for name in shapes.open_inputs:
        extent = shapes.ranges[name]
        profile.set_shape(name, extent.min, extent.opt, extent.max)
    if config.add_optimization_profile(profile) < 0:
        raise _failed(errors, 'the shapes of the inputs were refused')


def _note(line: str, errors: list[str], say: Say) -> None:
    if line.startswith('[E] '):
        errors.append(line[4:])
    say(line)


def _failed(errors: list[str], otherwise: str) -> EngineError:
    error = errors[0] if errors else otherwise
    return EngineError(with_advice(f'TensorRT could not build the engine: {error:.400}',
                                   '\n'.join([error, *errors[1:]])))


def _parser_error(error: Any) -> str:
    text = ' '.join(str(error.desc()).split())
    name = error.node_name() if hasattr(error, 'node_name') else ''
    return f"{text} (node '{name}')" if name else text
