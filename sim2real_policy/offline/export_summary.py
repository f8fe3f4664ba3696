"""The short text that the exporter prints, for a person to compare with the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sim2real_policy.contract import ObservationTerm, PolicyContract, VELOCITY_COMMAND
from sim2real_policy.offline.self_check import Agreement


def summary(contract: PolicyContract, agreement: Agreement, notes: Sequence[str],
            folder: Path) -> str:
    """
    Return a few lines with what was exported.

    :param contract: the finished contract.
    :param agreement: of the exported network with training's.
    :param notes: what a person should know.
    :param folder: where the bundle is.
    """
    lines = [f"policy '{contract.name}' -> {folder}",
             f'  period       {contract.control_period:g} s',
             f'  joints       {", ".join(contract.joints.names)}',
             f'  observation  {contract.observation_width} values',
             *(_term(contract, term) for term in contract.observation.terms),
             f'  action       {contract.action_width} values, raw clip '
             f'{_bounds(contract.actions.raw_clip)}']
    lines.extend(f'    {len(action.joints):3d}      {action.name}  scale '
                 f'{" ".join(f"{scale:g}" for scale in sorted(set(action.scale)))}'
                 for action in contract.actions.terms)
    if contract.command is not None and contract.command.ranges is not None:
        ranges = contract.command.ranges
        lines.append(f"  command      '{contract.command.name}': " + ', '.join(
            f'{axis} {_bounds(getattr(ranges, axis))}' for axis in VELOCITY_COMMAND))
    lines.append(f'  ONNX against training: largest difference {agreement.raw:.1e} in the raw '
                 f'action, {agreement.target:.1e} rad, over {agreement.rows} observations')
    return '\n'.join([*lines, *(f'  note: {note}' for note in notes)]) + '\n'


def _term(contract: PolicyContract, term: ObservationTerm) -> str:
    frames = f'x {term.history_length}' if term.history_length > 1 else ''
    line = f'    {contract.frame_width(term):3d} {frames:4s} {term.name} ({term.function})'
    if term.clip is not None:
        line += f'  clip {_bounds(term.clip)}'
    if term.scale is not None:
        scales = term.scale if isinstance(term.scale, tuple) else (term.scale,)
        line += f'  scale {" ".join(f"{scale:g}" for scale in scales)}'
    return line


def _bounds(bounds: tuple[float, float] | None) -> str:
    return 'none' if bounds is None else f'{bounds[0]:g} to {bounds[1]:g}'
