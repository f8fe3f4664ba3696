"""Rule: the node never hides what runs the network, nor why."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 or its wheels (make venv)')
pytest.importorskip('onnxruntime')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from policy_client import CLEANUP, CONFIGURE, policy_and_client
from tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.ros
DOMAIN = 92  # each test adds its own number


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the tiny policy, without an engine."""
    return make_tiny_bundle(tmp_path_factory.mktemp('policy') / 'bundle')


def test_without_an_engine_tensorrt_is_refused_and_with_permission_replaced_with_a_warning(
        bundle: Path) -> None:
    with policy_and_client(DOMAIN, bundle, backend='tensorrt') as (process, client):
        assert not client.transition(CONFIGURE)
        client.wait_for_state('UNCONFIGURED: there is no engine in')
        levels: dict[str, bytes] = {}
        client.create_subscription(DiagnosticArray, '/diagnostics', lambda array: levels.update(
            {status.name: status.level for status in array.status}), 10)
        assert client.set_parameter('backend_fallback', True).successful
        assert client.transition(CONFIGURE)
        client.wait(lambda: 'policy_node: backend' in client.diagnostics, 'its diagnostics')
        told = client.diagnostics['policy_node: backend']
        assert told['backend'] == 'onnxruntime'
        assert told['reason'].startswith('fallback, ')
        assert 'there is no engine in' in told['reason']
        client.wait(lambda: client.diagnostics['policy_node: state'].get('backend_reason')
                    == told['reason'], 'the reason in the state')
        client.wait(lambda: levels.get('policy_node: backend') == DiagnosticStatus.WARN, 'WARN')
        _, output = process.end()
    assert '[WARN]' in output
    assert 'TensorRT is not used, the network runs on the CPU instead: there is no' in output


def test_auto_says_why_it_is_onnx_runtime(bundle: Path) -> None:
    with policy_and_client(DOMAIN + 1, bundle) as (_, client):
        assert client.transition(CONFIGURE)
        client.wait(lambda: 'policy_node: backend' in client.diagnostics, 'its diagnostics')
        assert 'no engine' in client.diagnostics['policy_node: backend']['reason']
        assert client.transition(CLEANUP)
