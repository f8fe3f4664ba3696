"""Rule: what the build tool builds on this machine is proven here, and is what the node takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import policies
import pytest
from sim2real_policy.engine_file import find_engines
from sim2real_policy.engine_sidecar import load_sidecar, sidecar_path
from sim2real_policy.inference import make_runner
from sim2real_policy.offline.build_engine import main


@pytest.mark.parametrize('kind', [{}, {'batch': 'batch'}, {'recurrent': True}],
                         ids=['fixed batch', 'open batch', 'recurrent'])
def test_built_proven_and_taken(trt: Any, cuda: Any, tmp_path: Path, kind: Any,
                                capfd: pytest.CaptureFixture[str]) -> None:
    bundle = policies.make_bundle(tmp_path / 'bundle', **kind)
    assert main([str(bundle.folder), '--builder', 'python']) == 0, capfd.readouterr()
    [plan] = find_engines(bundle.folder)
    note = load_sidecar(sidecar_path(plan))
    assert note.proof is not None
    assert note.proof.fit is True, note.proof
    assert note.proof.worst_relative is not None
    assert note.proof.worst_relative < 1e-4
    assert note.gpu_name == cuda.Device(0).name()
    runner = make_runner('auto', bundle)
    assert (runner.name, runner.facts.warnings) == ('tensorrt', ())
    assert plan.name in runner.facts.reason
    runner.close()
