"""One build from network to proven engine: convert, build, compare, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
import platform

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import sha256_of
from sim2real_policy.contract import CONTRACT_FILE
from sim2real_policy.engine_file import (
    PlanHeader,
    PRODUCTS,
    read_plan_header,
    same_version,
)
from sim2real_policy.engine_sidecar import EngineSidecar, Proof, rebuild, sidecar_path
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.engine_folder import whole_engine
from sim2real_policy.offline.engine_progress import Progress
from sim2real_policy.offline.engine_proof import (
    not_run,
    open_tensorrt,
    OpenRunner,
    prove_engine,
    prove_network,
)
from sim2real_policy.offline.engine_request import EngineRequest, NetworkShapes, read_shapes
from sim2real_policy.offline.engine_tools import EngineTool
from sim2real_policy.offline.gpu_identity import gpu_identity
from sim2real_policy.offline.quantize_fp16 import convert_to_fp16
from sim2real_policy.offline.quantize_int8 import quantize_to_int8

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Plant:
    """
    What a build needs beside the request.

    ``calibration`` are observations for int8, shape (n, observation width); ``open_runner``
    makes the runner for the proof, ``identify`` tells name and compute capability of the GPU.
    ``log`` takes all that the builder said.
    """

    tool: EngineTool
    calibration: F32
    open_runner: OpenRunner = open_tensorrt
    identify: Callable[[], tuple[str, str]] = gpu_identity
    log: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """
    What became of a build.

    ``network`` is the proof of the converted network, None where none was converted;
    ``sidecar`` the note of the engine, None where it was unfit and not kept.
    """

    plan: Path
    proof: Proof
    network: Proof | None
    sidecar: EngineSidecar | None


def build_engine(request: EngineRequest, plant: Plant, plan: Path,
                 keep_unfit: bool = True) -> Outcome:
    """
    Build, prove and write one engine, with its note or not at all.

    :param request: what to build.
    :param plant: what to build it with.
    :param plan: where the engine shall be.
    :param keep_unfit: whether an engine that fails its proof is written, marked unfit.
    :raises EngineError: if it cannot be built.
    """
    shapes = read_shapes(request.bundle.onnx_path, request.bundle, request.max_batch)
    with whole_engine(plan) as partial:
        onnx, network = _network(request, plant, partial.parent)
        if network is not None and network.fit is False and not keep_unfit:
            return Outcome(plan, network, network, None)
        command = plant.tool.describe(_shown(onnx, request, plan), plan, request, shapes)
        seconds = _run(request, plant, onnx, partial, shapes)
        header = _checked_header(partial, plan, request, plant.tool)
        sidecar = _note(request, plant, partial, header, shapes, command, seconds)
        sidecar.save(sidecar_path(partial))
        proof = _prove(sidecar, partial, request, plant, network)
        sidecar = sidecar.model_copy(update={'proof': proof})
        sidecar.save(sidecar_path(partial))
        if proof.fit is False and not keep_unfit:
            partial.unlink()
            return Outcome(plan, proof, network, None)
    return Outcome(plan, proof, network, sidecar)


def _network(request: EngineRequest, plant: Plant, folder: Path) -> tuple[Path, Proof | None]:
    if not request.converts(plant.tool.typing):
        return request.bundle.onnx_path, None
    onnx = folder / f'policy-{request.precision}.onnx'
    if request.precision == 'fp16':
        convert_to_fp16(request.bundle.onnx_path, onnx)
    else:
        quantize_to_int8(request.bundle, onnx, plant.calibration)
    return onnx, prove_network(onnx, request.bundle, request.precision)


def _shown(onnx: Path, request: EngineRequest, plan: Path) -> Path:
    return onnx if onnx == request.bundle.onnx_path else plan.with_suffix('.onnx')


def _run(request: EngineRequest, plant: Plant, onnx: Path, partial: Path,
         shapes: NetworkShapes) -> float:
    progress = Progress(f'building {request.precision} with {plant.tool.title}')
    try:
        with progress:
            plant.tool.build(onnx, partial, request, shapes, progress)
    finally:
        if plant.log is not None:
            plant.log.write_text('\n'.join(progress.lines) + '\n', encoding='utf-8')
    return progress.seconds


def _checked_header(partial: Path, plan: Path, request: EngineRequest,
                    tool: EngineTool) -> PlanHeader:
    header = read_plan_header(partial, rebuild(request.bundle.folder), tool.version < (8, 6))
    version = '.'.join(map(str, tool.version))
    if header.flavor != tool.flavor or not same_version(header.version, version):
        raise EngineError(
            f'{tool.title} wrote an engine of {PRODUCTS[header.flavor]} {header.version} for '
            f'{plan}; two versions of TensorRT are mixed (pip and apt?). Check LD_LIBRARY_PATH')
    return header


def _note(request: EngineRequest, plant: Plant, partial: Path, header: PlanHeader,
          shapes: NetworkShapes, command: str, seconds: float) -> EngineSidecar:
    gpu, capability = plant.identify()
    bundle = request.bundle
    return EngineSidecar.model_validate({
        'plan': partial.name, 'plan_sha256': sha256_of(partial),
        'onnx_sha256': bundle.contract.network.sha256,
        'contract_sha256': sha256_of(bundle.folder / CONTRACT_FILE),
        'flavor': header.flavor,
        'tensorrt_version': header.version or '.'.join(map(str, plant.tool.version)),
        'gpu_name': gpu, 'compute_capability': capability,
        'os': f'{platform.system()}-{platform.release()}', 'cpu': platform.machine(),
        'precision': request.precision, 'shapes': shapes.ranges, 'builder': plant.tool.name,
        'command_line': command, 'build_seconds': round(seconds, 3),
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds')})


def _prove(sidecar: EngineSidecar, partial: Path, request: EngineRequest, plant: Plant,
           network: Proof | None) -> Proof:
    if network is not None and network.fit is False:
        return network
    if not sidecar.gpu_name:
        return not_run(request.precision, 'no NVIDIA GPU is visible on this machine')
    return prove_engine(partial, request.bundle, request.precision, plant.open_runner)
