"""The network on the CPU, through ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Bundle
from sim2real_policy.errors import InferenceError, MissingDependencyError
from sim2real_policy.inference import RunnerFacts

Array = NDArray[np.float32]
_SEVERITY_ERROR = 3


class OnnxRunner:
    """
    One thread, no spinning, buffers bound once.

    The default session is no faster for networks of this size and burns many times the CPU
    (docs/performance.md).
    """

    name = 'onnxruntime'

    def __init__(self, bundle: Bundle) -> None:
        """
        Load the network, compare its tensors with the contract, and run it once.

        :param bundle: the policy.
        :raises MissingDependencyError: if onnxruntime is not installed.
        :raises InferenceError: if the file is no network, or not the contract's.
        """
        contract, network = bundle.contract, bundle.contract.network
        self.facts = RunnerFacts('chosen by name')
        self._session = _open_session(str(bundle.onnx_path))
        states = [(state.input, state.output, state.shape) for state in network.recurrent]
        _check_tensors('input', self._session.get_inputs(), {
            network.input: (1, contract.observation_width),
            **{name: shape for name, _, shape in states}})
        _check_tensors('output', self._session.get_outputs(), {
            network.output: (1, contract.action_width),
            **{name: shape for _, name, shape in states}}, allow_more=True)
        self.input: Array = np.zeros((1, contract.observation_width), dtype=np.float32)
        self.output: Array = np.zeros((1, contract.action_width), dtype=np.float32)
        self._states = [(np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32))
                        for _, _, shape in states]
        self._binding = self._session.io_binding()
        _bind(self._binding.bind_input, network.input, self.input)
        _bind(self._binding.bind_output, network.output, self.output)
        for (name_in, name_out, _), (before, after) in zip(states, self._states, strict=True):
            _bind(self._binding.bind_input, name_in, before)
            _bind(self._binding.bind_output, name_out, after)
        self._run = self._session.run_with_iobinding
        self._warm_up(bundle)

    def _warm_up(self, bundle: Bundle) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001  onnxruntime's errors share no other base class
            raise InferenceError(f'{bundle.onnx_path} cannot be run with a batch of one: {error}; '
                                 'export the bundle again') from None
        self.reset()

    def run(self) -> None:
        """Compute ``output`` from ``input`` and advance the recurrent state."""
        self._run(self._binding)
        for before, after in self._states:
            np.copyto(before, after)

    def reset(self) -> None:
        """Set the recurrent state to zero."""
        for before, _ in self._states:
            before.fill(0.0)

    def close(self) -> None:
        """Keep nothing open: the session goes with the object."""


def _open_session(path: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError('onnxruntime', 'to run the network on the CPU',
                                     'pip install onnxruntime') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SEVERITY_ERROR
    try:
        return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # noqa: BLE001  onnxruntime's errors share no other base class
        raise InferenceError(f'{path} cannot be loaded by onnxruntime '
                             f'{onnxruntime.__version__}: {error}; export the bundle '
                             'again, or update onnxruntime') from None


def _check_tensors(side: str, tensors: list[Any], expected: dict[str, tuple[int, ...]],
                   allow_more: bool = False) -> None:
    """Refuse a network whose tensors are not the contract's; a named dimension is free."""
    seen = {tensor.name: tensor for tensor in tensors}
    if not set(expected) <= set(seen) or (not allow_more and len(seen) != len(expected)):
        raise InferenceError(f'the network has the {side}s {sorted(seen)}, the contract expects '
                             f'{sorted(expected)}; export the bundle again')
    for name, shape in expected.items():
        actual = seen[name].shape
        fits = len(actual) == len(shape) and all(
            not isinstance(size, int) or size == wanted
            for size, wanted in zip(actual, shape, strict=True))
        if not fits or seen[name].type != 'tensor(float)':
            raise InferenceError(
                f"the network's {side} '{name}' is {seen[name].type} {list(actual)}, the "
                f'contract expects tensor(float) {list(shape)}; export the bundle again')


def _bind(bind: Any, name: str, array: Array) -> None:
    bind(name=name, device_type='cpu', device_id=0, element_type=np.float32,
         shape=array.shape, buffer_ptr=array.ctypes.data)
