"""Rule: an engine of TensorRT for RTX runs as one of TensorRT does, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import policies
import pytest
from sim2real_policy.engine_file import TENSORRT_RTX
from sim2real_policy.errors import EngineError, MissingDependencyError
from sim2real_policy.inference import check_golden
from sim2real_policy.tensorrt_network import import_tensorrt
from sim2real_policy.tensorrt_runner import TensorRTRunner

# What its support matrix says; anything else that is refused is a fault.
SUPPORTED = {'8.0', '8.6', '8.9', '12.0', '12.1'}


def test_tensorrt_for_rtx(cuda: Any, tmp_path: Path) -> None:
    try:
        rtx = import_tensorrt(TENSORRT_RTX)
    except (MissingDependencyError, EngineError) as error:
        pytest.skip(str(error))
    bundle = policies.make_bundle(tmp_path / 'bundle')
    plan = engines.build(rtx, bundle)
    capability = '.'.join(map(str, cuda.Device(0).compute_capability()))
    if capability in SUPPORTED:
        runner = TensorRTRunner(bundle, plan)
        assert check_golden(runner, bundle.golden) < 1e-4
        runner.close()
        return
    with pytest.raises(EngineError, match='could not make the engine; TensorRT says: ') as refusal:
        TensorRTRunner(bundle, plan)
    assert 'ompute capability' in str(refusal.value)
    print(refusal.value)  # noqa: T201  shown with -rP
