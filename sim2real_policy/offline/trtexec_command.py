"""Composes the command line of trtexec for the version that is installed."""

from __future__ import annotations

from pathlib import Path
import re

from sim2real_policy.engine_sidecar import ShapeRange
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_request import (
    EngineRequest,
    NetworkShapes,
    PRECISION_IN_NETWORK,
    Version,
)

OLDEST: Version = (8, 5)  # the first with the interface by tensor name, which the node uses
_STRONGLY_TYPED_SINCE: Version = (9,)
_SKIP_INFERENCE_SINCE: Version = (8, 6)
_SPECIAL = re.compile(r'[:,]')


def compose_command(trtexec: str, version: Version, onnx: Path, plan: Path,
                    request: EngineRequest, shapes: NetworkShapes) -> list[str]:
    """
    Return the arguments of one build, the program first.

    :param trtexec: the program.
    :param version: its version, such as (10, 3, 0).
    :param onnx: the network; converted already where ``request.converts(version)``.
    :param plan: the engine to write.
    :param request: the options.
    :param shapes: of the network's inputs.
    :raises EngineError: if this version cannot do what is wanted.
    """
    check_version(version, request)
    command = [trtexec, f'--onnx={onnx}', f'--saveEngine={plan}']
    # trtexec refuses shapes for a network that fixes all of its own.
    if shapes.open_inputs:
        command += [f'--{which}Shapes={_spell(shapes, which)}' for which in ('min', 'opt', 'max')]
    command.append(f'--memPoolSize=workspace:{request.workspace}')
    command += _precision_flags(version, request)
    # TF32 is on by default and costs three decimal digits.
    command.append('--noTF32')
    command.append('--skipInference' if version >= _SKIP_INFERENCE_SINCE else '--buildOnly')
    return command


def check_version(version: Version, request: EngineRequest) -> None:
    """
    Refuse what a version cannot do.

    :param version: of TensorRT.
    :param request: the options.
    :raises EngineError: for TensorRT before 8.5, and strong typing before 9.
    """
    shown = '.'.join(map(str, version))
    if version < OLDEST:
        raise EngineError(f'TensorRT {shown} is too old, expected 8.5 or later (JetPack 5.1 and '
                          'later have it); update JetPack, or run the policy with ONNX Runtime')
    if request.strongly_typed and version < _STRONGLY_TYPED_SINCE:
        raise EngineError(f'--strongly-typed needs TensorRT 9 or later, this is {shown}; leave '
                          'it out')


def _precision_flags(version: Version, request: EngineRequest) -> list[str]:
    if version >= PRECISION_IN_NETWORK:
        return []
    if request.strongly_typed:
        return ['--stronglyTyped']
    return [] if request.precision == 'fp32' else [f'--{request.precision}']


def _spell(shapes: NetworkShapes, which: str) -> str:
    return ','.join(f'{_quoted(name)}:{_extents(shapes.ranges[name], which)}'
                    for name in shapes.open_inputs)


def _quoted(name: str) -> str:
    return f"'{name}'" if _SPECIAL.search(name) else name


def _extents(shape: ShapeRange, which: str) -> str:
    return 'x'.join(str(extent) for extent in getattr(shape, which))
