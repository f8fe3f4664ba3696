"""Builds a TensorRT engine for this machine from a policy bundle, and proves it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.errors import PolicyError
from sim2real_policy.offline.engine_build import build_engine, Plant
from sim2real_policy.offline.engine_folder import engine_path
from sim2real_policy.offline.engine_proof import realistic_rows
from sim2real_policy.offline.engine_request import (
    EngineRequest,
    PRECISIONS,
    read_shapes,
    WORKSPACE_MIB,
)
from sim2real_policy.offline.engine_summary import fallback, int8_cost, summary
from sim2real_policy.offline.engine_tools import BUILDERS, choose_tool, EngineTool
from sim2real_policy.offline.quantize_int8 import read_observations

OK, UNFIT, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param arguments: instead of those of the process.
    :return: 0; 1 where the engine is unfit; 2 after one sentence about a mistake of the user or
        of the builder.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.tensorrt_version is not None and not options.dry_run:
            raise PolicyError('--tensorrt-version is for --dry-run alone: an engine is built with '
                              'what is installed; add --dry-run, or leave it out')
        bundle = load_bundle(options.bundle)
        tool = choose_tool(options.builder, options.trtexec, options.tensorrt_version)
        if options.dry_run:
            sys.stdout.write(_dry_run(options, bundle, tool))
            return OK
        return _build(options, bundle, tool)
    except PolicyError as error:
        sys.stderr.write(f'build_engine: {error}\n')
        return MISTAKE
    except KeyboardInterrupt:
        sys.stderr.write('build_engine: interrupted; nothing was written\n')
        return INTERRUPTED


def _build(options: argparse.Namespace, bundle: Bundle, tool: EngineTool) -> int:
    rows = realistic_rows(bundle) if options.calibration_npz is None else \
        read_observations(options.calibration_npz, bundle.contract.observation_width)
    plant = Plant(tool, rows, log=options.log)
    precision: str | None = options.precision
    while precision is not None:
        if precision == 'int8':
            sys.stdout.write(int8_cost(len(rows)))
        lower = fallback(precision)
        outcome = build_engine(_request(options, bundle, precision), plant,
                               _place(options, bundle, precision),
                               keep_unfit=not options.auto_precision or lower is None)
        sys.stdout.write(summary(outcome, precision))
        if outcome.proof.fit is not False:
            return OK
        if not options.auto_precision:
            break
        precision = lower
    advice = f'build it with --precision {fallback(options.precision)}, or with --auto-precision' \
        if precision is not None and fallback(precision) else \
        'run the policy with backend: onnxruntime, and report this with the version of TensorRT'
    sys.stderr.write('build_engine: the engine is marked unfit and no node will load it; '
                     f'{advice}\n')
    return UNFIT


def _request(options: argparse.Namespace, bundle: Bundle, precision: str) -> EngineRequest:
    return EngineRequest(bundle, precision, options.max_batch, options.workspace,
                         options.strongly_typed)


def _place(options: argparse.Namespace, bundle: Bundle, precision: str) -> Path:
    return engine_path(bundle.folder, options.name or f'{bundle.contract.name}-{precision}')


def _dry_run(options: argparse.Namespace, bundle: Bundle, tool: EngineTool) -> str:
    request = _request(options, bundle, options.precision)
    shapes = read_shapes(bundle.onnx_path, bundle, request.max_batch)
    plan = _place(options, bundle, request.precision)
    onnx, first = bundle.onnx_path, ''
    if request.converts(tool.typing):
        onnx = plan.with_suffix('.onnx')
        how = 'half precision' if request.precision == 'fp16' else 'explicit int8 (Q/DQ)'
        first = f'# first: {bundle.onnx_path} converted to {how} as {onnx}\n'
    return (f'# {tool.title}\n{first}{tool.describe(onnx, plan, request, shapes)}\n')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='build_engine.py', description='Build a TensorRT engine of a policy bundle, on the '
        'machine that will run it, and compare it with ONNX Runtime.')
    parser.add_argument('bundle', type=Path, metavar='BUNDLE', help='as export_onnx.py writes it')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32',
                        help='fp32 is fast enough for small networks (default)')
    parser.add_argument('--auto-precision', action='store_true',
                        help='take the next more exact precision where this one is unfit')
    parser.add_argument('--max-batch', type=_positive, default=1, metavar='N',
                        help='largest batch; the robot needs 1 (default)')
    parser.add_argument('--workspace', type=_positive, default=WORKSPACE_MIB, metavar='MIB',
                        help=f'scratch memory of the builder (default {WORKSPACE_MIB})')
    parser.add_argument('--builder', choices=BUILDERS, default='auto',
                        help='by default trtexec, else the Python module tensorrt, else '
                        'tensorrt_rtx')
    parser.add_argument('--trtexec', type=Path, metavar='PATH',
                        help='by default $TRTEXEC, the path, /usr/src/tensorrt/bin, /usr/bin')
    parser.add_argument('--strongly-typed', action='store_true',
                        help='put the precision into the network, as TensorRT 11 always does')
    parser.add_argument('--calibration-npz', type=Path, metavar='FILE',
                        help="recorded observations for int8, .npz with 'observations' or .npy; "
                        'by default the golden ones')
    parser.add_argument('--name', help='of the engine; by default POLICY-PRECISION')
    parser.add_argument('--log', type=Path, metavar='FILE', help="keep the builder's whole log")
    parser.add_argument('--dry-run', action='store_true', help='only print what would be run')
    parser.add_argument('--tensorrt-version', metavar='X',
                        help='with --dry-run: the command line for this version, e.g. 10.3')
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value} is not positive')
    return value
