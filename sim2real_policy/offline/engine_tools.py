"""Which builder there is on this machine, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
import shlex

from sim2real_policy.engine_file import PRODUCTS, TENSORRT
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_api import build_plan, import_tensorrt
from sim2real_policy.offline.engine_progress import Progress
from sim2real_policy.offline.engine_request import (
    EngineRequest,
    NetworkShapes,
    PRECISION_IN_NETWORK,
    Version,
)
from sim2real_policy.offline.trtexec_command import check_version, compose_command
from sim2real_policy.offline.trtexec_program import ask_version, find_trtexec, parse_version
from sim2real_policy.offline.trtexec_run import run_trtexec

BUILDERS = ('auto', 'trtexec', 'python')
Build = Callable[[Path, Path, EngineRequest, NetworkShapes, Progress], None]
Describe = Callable[[Path, Path, EngineRequest, NetworkShapes], str]


@dataclass(frozen=True)
class EngineTool:
    """
    A builder: what it is, and its two actions on (network, engine, request, shapes).

    ``version`` is TensorRT's; ``typing`` the version whose rules of precision hold.
    """

    name: str
    flavor: str
    version: Version
    typing: Version
    build: Build
    describe: Describe

    @property
    def title(self) -> str:
        """Name for a person."""
        return f'{PRODUCTS[self.flavor]} {".".join(map(str, self.version))} ({self.name})'


def choose_tool(wanted: str, trtexec: Path | None, pretended: str | None = None) -> EngineTool:
    """
    Return the builder to use.

    :param wanted: one of :data:`BUILDERS`; ``auto`` prefers trtexec.
    :param trtexec: the program that the user named.
    :param pretended: a version to compose command lines of trtexec for, instead of asking.
    :raises EngineError: if there is none.
    """
    if pretended is not None:
        return trtexec_tool(Path('trtexec'), parse_version(pretended))
    if wanted in ('auto', 'trtexec'):
        program = find_trtexec(trtexec)
        if program is not None:
            return trtexec_tool(program, ask_version(program))
    if wanted in ('auto', 'python'):
        tool = python_tool()
        if tool is not None:
            return tool
    what = {'auto': "neither trtexec nor Python's tensorrt or tensorrt_rtx",
            'trtexec': 'no trtexec', 'python': "not Python's tensorrt or tensorrt_rtx"}[wanted]
    raise EngineError(
        f'{what} was found, expected one to build with; on a Jetson: sudo apt install '
        'libnvinfer-bin python3-libnvinfer; on a workstation: pip install tensorrt; or name the '
        'program with --trtexec. See a command line without it with --dry-run '
        '--tensorrt-version 10.3')


def trtexec_tool(program: Path, version: Version) -> EngineTool:
    """
    Return trtexec as a builder.

    :param program: where it is.
    :param version: its version.
    """
    def command(onnx: Path, plan: Path, request: EngineRequest,
                shapes: NetworkShapes) -> list[str]:
        return compose_command(str(program), version, onnx, plan, request, shapes)

    def build(onnx: Path, plan: Path, request: EngineRequest, shapes: NetworkShapes,
              progress: Progress) -> None:
        run_trtexec(command(onnx, plan, request, shapes), plan, progress)

    def describe(onnx: Path, plan: Path, request: EngineRequest, shapes: NetworkShapes) -> str:
        return shlex.join(command(onnx, plan, request, shapes))
    return EngineTool('trtexec', TENSORRT, version, version, build, describe)


def python_tool() -> EngineTool | None:
    """Return TensorRT's Python module as a builder, or None where none is installed."""
    found = import_tensorrt()
    if found is None:
        return None
    trt, flavor = found
    version = parse_version('.'.join(str(trt.__version__).split('.')[:4]))
    typing = version if flavor == TENSORRT else PRECISION_IN_NETWORK

    def build(onnx: Path, plan: Path, request: EngineRequest, shapes: NetworkShapes,
              progress: Progress) -> None:
        check_version(typing, request)
        plan.write_bytes(build_plan(trt, onnx, request, shapes, progress.add))

    def describe(onnx: Path, plan: Path, request: EngineRequest, shapes: NetworkShapes) -> str:
        check_version(typing, request)
        ranges = ', '.join(f'{name} {list(shapes.ranges[name].min)} to '
                           f'{list(shapes.ranges[name].max)}' for name in shapes.open_inputs)
        return (f'{trt.__name__}.Builder: {onnx} -> {plan}, workspace {request.workspace} MiB, '
                f'{request.precision}, no TF32' + (f', {ranges}' if ranges else ''))
    return EngineTool('python', flavor, version, typing, build, describe)
