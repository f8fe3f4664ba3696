"""Turns a training run into a policy bundle: network, contract and golden vectors."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
import sys
from typing import Any
import warnings

import numpy as np
from sim2real_policy import __version__
from sim2real_policy.bundle import Golden, GOLDEN_FILE, load_bundle, sha256_of
from sim2real_policy.contract import CONTRACT_FILE, PolicyContract, save_contract
from sim2real_policy.errors import ImportRunError, PolicyError
from sim2real_policy.offline.bundle_folder import check_output, whole_folder
from sim2real_policy.offline.checkpoint import Actor, newest_checkpoint, read_checkpoint
from sim2real_policy.offline.export_summary import summary
from sim2real_policy.offline.golden_data import make_golden
from sim2real_policy.offline.self_check import Agreement, check_network
from sim2real_policy.offline.torch_actor import build_network
from sim2real_policy.offline.torch_library import import_torch_with_onnx
from sim2real_policy.offline.training_run import ONNX_FILE, read_training_run, TrainingRun

OPSET = 17  # old enough for the ONNX parsers of the boards that are still in use


@dataclass(frozen=True)
class Export:
    """What was written: the final contract, and how well the network agrees with training."""

    folder: Path
    contract: PolicyContract
    agreement: Agreement
    notes: tuple[str, ...]


def export_bundle(run: TrainingRun, checkpoint: Path, output: Path, force: bool = False,
                  ) -> Export:
    """
    Write the bundle of a run, whole or not at all.

    :param run: the run.
    :param checkpoint: the network's weights.
    :param output: folder of the bundle.
    :param force: whether an older bundle there may be replaced.
    :raises MissingDependencyError: if PyTorch or ONNX Runtime is not installed.
    :raises PolicyError: if the parts do not fit, or the export differs from training.
    """
    check_output(output, force)
    actor = read_checkpoint(checkpoint)
    _check_fit(run, actor, checkpoint)
    network = build_network(actor, run.settings.activation or '')
    golden = make_golden(run.contract, actor, network)
    with whole_folder(output) as folder:
        _write_onnx(network, run.contract, folder / ONNX_FILE)
        agreement = check_network(folder / ONNX_FILE, run.contract, actor, network,
                                  golden.chain_observation)
        contract = _finished(run.contract, actor, checkpoint, folder / ONNX_FILE)
        save_contract(contract, folder / CONTRACT_FILE)
        _write_golden(golden, folder / GOLDEN_FILE)
        load_bundle(folder)
    return Export(output, contract, agreement, run.notes)


def _check_fit(run: TrainingRun, actor: Actor, checkpoint: Path) -> None:
    contract = run.contract
    if actor.input_width != contract.observation_width:
        raise ImportRunError(
            f'{checkpoint} takes {actor.input_width} values, but the observation terms of '
            f'env.yaml have {contract.observation_width}; expected the same. Check that both '
            'are from one run, and that the joint names are complete')
    if actor.output_width == 2 * contract.action_width:
        raise ImportRunError(
            f'{checkpoint} gives {actor.output_width} values for {contract.action_width} '
            'actions: a standard deviation that depends on the state, expected one that does '
            'not. Train with state_dependent_std: false')
    if actor.output_width != contract.action_width:
        raise ImportRunError(
            f'{checkpoint} gives {actor.output_width} values, but the action terms of env.yaml '
            f'have {contract.action_width}; expected the same. Check that both are from one run')
    if run.settings.activation is None and len(actor.layers) > 1:
        raise ImportRunError('agent.yaml has no activation for the actor, expected one such as '
                             "'elu'; the weights alone do not tell it. Copy agent.yaml again")
    if run.settings.normalised and actor.mean is None:
        raise ImportRunError(f'agent.yaml says that observations are normalised, but {checkpoint} '
                             'has no normaliser; expected both or none. Check that both are from '
                             'one run')


def _write_onnx(network: Any, contract: PolicyContract, path: Path) -> None:
    torch = import_torch_with_onnx()
    names = contract.network
    example = torch.zeros(1, contract.observation_width)
    with warnings.catch_warnings():
        # The older exporter writes one file and follows the opset; newer ones do neither.
        warnings.simplefilter('ignore')
        torch.onnx.export(network, (example,), str(path), dynamo=False, opset_version=OPSET,
                          input_names=[names.input], output_names=[names.output],
                          dynamic_axes={names.input: {0: 'batch'}, names.output: {0: 'batch'}})


def _finished(contract: PolicyContract, actor: Actor, checkpoint: Path,
              onnx: Path) -> PolicyContract:
    network = contract.network.model_copy(update={'sha256': sha256_of(onnx)})
    provenance = {**contract.provenance, 'network_layout': actor.layout,
                  'checkpoint': checkpoint.name, 'checkpoint_sha256': sha256_of(checkpoint),
                  'exporter': f'sim2real_policy {__version__}',
                  'date': datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')}
    if actor.iteration is not None:
        provenance['iteration'] = actor.iteration
    return contract.model_copy(update={'network': network, 'provenance': provenance})


def _write_golden(golden: Golden, path: Path) -> None:
    arrays: dict[str, Any] = {name: getattr(golden, name)
                              for name in Golden.__dataclass_fields__}
    np.savez(path, **arrays)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param arguments: instead of those of the process.
    :return: 0, or 2 after one sentence about a mistake of the user.
    """
    options = _parser().parse_args(arguments)
    try:
        output = options.output.absolute()
        check_output(output, options.force)
        joints = None if options.joint_names is None else \
            [name.strip() for name in options.joint_names.split(',')]
        run = read_training_run(options.run, joints, options.name)
        checkpoint = options.checkpoint or newest_checkpoint(options.run)
        export = export_bundle(run, checkpoint, output, options.force)
    except PolicyError as error:
        sys.stderr.write(f'export_onnx: {error}\n')
        return 2
    sys.stdout.write(summary(export.contract, export.agreement, export.notes, options.output))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='export_onnx.py', description='Write the policy bundle of a training run of Isaac '
        'Lab or mjlab (rsl_rl): policy.onnx, contract.yaml and golden.npz.')
    parser.add_argument('run', type=Path, metavar='RUN_DIR',
                        help='folder with params/env.yaml, params/agent.yaml and model_*.pt')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='BUNDLE',
                        help='folder of the new bundle')
    parser.add_argument('--joint-names', metavar='A,B,C',
                        help="the joints in the simulator's order, if the run does not record it")
    parser.add_argument('--checkpoint', type=Path, metavar='FILE',
                        help='instead of the model_*.pt of the highest iteration')
    parser.add_argument('--name', help="name of the policy; by default the experiment's")
    parser.add_argument('--force', action='store_true',
                        help='replace an older bundle, engines included')
    return parser
