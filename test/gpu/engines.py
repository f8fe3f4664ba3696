"""Builds engines for tests, through the Python builder of whatever TensorRT is imported."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
import platform
from typing import Any

from sim2real_policy.bundle import Bundle, sha256_of
from sim2real_policy.contract import CONTRACT_FILE
from sim2real_policy.engine_file import ENGINES_FOLDER, read_plan_header
from sim2real_policy.engine_sidecar import EngineSidecar, sidecar_path
from sim2real_policy.tensorrt_network import captured_log, told


def build(trt: Any, bundle: Bundle, name: str = 'engine', precision: str = 'fp32') -> Path:
    """
    Build an engine into a bundle, with its note.

    :param trt: TensorRT's module.
    :param bundle: the policy.
    :param name: of the engine.
    :param precision: what the note says; fp16 where the network is.
    """
    log = captured_log(trt)
    builder = trt.Builder(log)
    known = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(
        1 << int(known.EXPLICIT_BATCH) if hasattr(known, 'EXPLICIT_BATCH') else 0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(bundle.onnx_path.read_bytes()), told(log, 'error')
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if precision == 'fp16' and hasattr(trt.BuilderFlag, 'FP16'):
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    width = bundle.contract.observation_width
    profile.set_shape(bundle.contract.network.input, (1, width), (1, width), (4, width))
    if has_open_batch(bundle):
        config.add_optimization_profile(profile)
    data = builder.build_serialized_network(network, config)
    assert data is not None, told(log, 'error')
    plan = bundle.folder / ENGINES_FOLDER / f'{name}.plan'
    plan.parent.mkdir(exist_ok=True)
    plan.write_bytes(bytes(data))
    write_note(plan, bundle, precision)
    return plan


def has_open_batch(bundle: Bundle) -> bool:
    """Tell whether the network leaves its batch open."""
    import onnx
    dims = onnx.load(bundle.onnx_path).graph.input[0].type.tensor_type.shape.dim
    return not dims[0].HasField('dim_value')


def write_note(plan: Path, bundle: Bundle, precision: str = 'fp32', **changes: Any) -> None:
    """
    Write the note beside an engine, as the build tool does.

    :param plan: the engine.
    :param bundle: the policy.
    :param precision: of the engine.
    :param changes: fields that shall be otherwise.
    """
    header = read_plan_header(plan, 'build it again')
    fields: dict[str, Any] = {
        'plan': plan.name, 'plan_sha256': sha256_of(plan),
        'onnx_sha256': bundle.contract.network.sha256,
        'contract_sha256': sha256_of(bundle.folder / CONTRACT_FILE),
        'flavor': header.flavor, 'tensorrt_version': header.version, 'gpu_name': '',
        'compute_capability': '', 'os': f'{platform.system()}-{platform.release()}',
        'cpu': platform.machine(), 'precision': precision, 'shapes': {}, 'builder': 'python',
        'command_line': '', 'build_seconds': 0.0,
        'created': datetime.now(timezone.utc).isoformat(), 'proof': None}
    EngineSidecar(**{**fields, **changes}).save(sidecar_path(plan))
