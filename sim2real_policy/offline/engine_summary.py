"""The lines that the engine builder prints about what it built, and what it costs."""

from __future__ import annotations

from pathlib import Path

from sim2real_policy.engine_sidecar import EngineSidecar, Proof
from sim2real_policy.offline.engine_build import Outcome
from sim2real_policy.offline.quantize_int8 import ENOUGH_OBSERVATIONS

_LOWER = {'int8': 'fp16', 'fp16': 'fp32'}
_MEGABYTE = 1e6


def fallback(precision: str) -> str | None:
    """
    Return the next more exact precision, or None.

    :param precision: the one that failed its proof.
    """
    return _LOWER.get(precision)


def int8_cost(calibration_rows: int) -> str:
    """
    Return the plain statement about int8 that stands above every such build.

    :param calibration_rows: number of observations that it is calibrated on.
    """
    few = '' if calibration_rows >= ENOUGH_OBSERVATIONS else \
        (f' It is calibrated on {calibration_rows} observations; give {ENOUGH_OBSERVATIONS} or '
         'more recorded ones, of all gaits, with --calibration-npz.')
    return ('int8 costs accuracy (measured below) and makes networks of a few layers no faster '
            f'than fp32; it is for large ones, and wants a test in simulation.{few}\n')


def summary(outcome: Outcome, precision: str) -> str:
    """
    Return a few lines about an engine, for a person.

    :param outcome: of the build.
    :param precision: that was asked for.
    """
    lines = []
    if outcome.network is not None and outcome.network is not outcome.proof:
        lines.append(f'  network      {precision} against fp32 in ONNX Runtime: '
                     f'{difference(outcome.network)}')
    lines.append(f'  proof        {_verdict(outcome.proof)}')
    if outcome.sidecar is None:
        return '\n'.join([f'no {precision} engine was written', *lines]) + '\n'
    return '\n'.join([*_head(outcome.plan, outcome.sidecar), *lines]) + '\n'


def _head(plan: Path, sidecar: EngineSidecar) -> list[str]:
    gpu = f'{sidecar.gpu_name} (compute capability {sidecar.compute_capability})' \
        if sidecar.gpu_name else 'no GPU'
    shapes = ', '.join(
        f'{name} {"x".join(map(str, shape.min))}' + (
            f' to {"x".join(map(str, shape.max))}' if shape.max != shape.min else '')
        for name, shape in sidecar.shapes.items())
    size = plan.stat().st_size / _MEGABYTE
    return [f'engine -> {plan}',
            f'  built        {sidecar.flavor} {sidecar.tensorrt_version}, {sidecar.builder}, '
            f'{sidecar.precision}, {sidecar.build_seconds:.1f} s, {size:.1f} MB',
            f'  for          {gpu}, {sidecar.os}, {sidecar.cpu}',
            f'  shapes       {shapes}']


def difference(proof: Proof) -> str:
    """
    Return a measured difference in words.

    :param proof: with the numbers.
    """
    if proof.worst_raw is None or proof.worst_rad is None or proof.worst_relative is None:
        return 'an answer is no finite number' if proof.rows else proof.note
    return (f'largest difference {proof.worst_raw:.2g} in raw action, {proof.worst_rad:.2g} rad, '
            f'{proof.worst_relative:.2g} relative (allowed {proof.tolerance:g}), over '
            f'{proof.rows} observations')


def _verdict(proof: Proof) -> str:
    if proof.fit is None:
        return (f'not run: {proof.note}; the node will compare the engine with the golden '
                'vectors when it is configured')
    of = f' ({proof.note})' if proof.rows and proof.note else ''
    return f'{"fit" if proof.fit else "UNFIT"}: {difference(proof)}{of}'
