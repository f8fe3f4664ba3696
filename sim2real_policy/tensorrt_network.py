"""
An engine in TensorRT's hands: loaded, compared with the contract, ready to be enqueued.

Only the API of tensor names is used, which is the same from TensorRT 8.5 to 11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import functools
import importlib
import importlib.util
from pathlib import Path
import platform
from typing import Any, NoReturn

import numpy as np
from sim2real_policy.bundle import Bundle
from sim2real_policy.engine_file import Machine, PRODUCTS, TENSORRT, TENSORRT_RTX
from sim2real_policy.engine_sidecar import rebuild
from sim2real_policy.errors import EngineError, MissingDependencyError

_KEPT_LINES = 200
_TOLD_WARNINGS = 3
_MODULES = {TENSORRT: ('tensorrt',), TENSORRT_RTX: ('tensorrt_rtx', 'tensorrt_rtx_bindings')}
_INSTALL = {
    TENSORRT: 'sudo apt install python3-libnvinfer (JetPack, for the Python of the system; a '
              'virtual environment needs --system-site-packages), or pip install tensorrt on a '
              'PC',
    TENSORRT_RTX: 'pip install tensorrt-rtx',
}
# A wheel that carries the libraries of TensorRT for RTX, and loads them when it is imported.
_RTX_LIBRARIES = 'onnxruntime_ep_nv_tensorrt_rtx'


def is_installed(module: str) -> bool:
    """
    Tell whether a module can be found, without loading it.

    :param module: its name.
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def tensorrt_is_installed() -> bool:
    """Tell whether any TensorRT can be found, without loading it."""
    return any(is_installed(module) for modules in _MODULES.values() for module in modules)


def import_tensorrt(flavor: str) -> Any:
    """
    Return the module of a TensorRT product.

    :param flavor: one of :data:`sim2real_policy.engine_file.PRODUCTS`.
    :raises MissingDependencyError: if it is not installed.
    :raises EngineError: if it is, but does not load.
    """
    installed = [name for name in _MODULES[flavor] if is_installed(name)]
    if not installed:
        raise MissingDependencyError(PRODUCTS[flavor], f'to run an engine of {PRODUCTS[flavor]}',
                                     _INSTALL[flavor])
    try:
        if flavor == TENSORRT_RTX and is_installed(_RTX_LIBRARIES):
            importlib.import_module(_RTX_LIBRARIES)
        return importlib.import_module(installed[0])
    except (ImportError, OSError) as error:
        raise EngineError(f"the Python module '{installed[0]}' does not load: {error}. Install it "
                          f'anew: {_INSTALL[flavor]}') from None


def this_machine(trt: Any, flavor: str) -> Machine:
    """
    Return what an engine has to match, as far as it is known without asking the GPU.

    :param trt: the module of TensorRT.
    :param flavor: its product.
    """
    return Machine(str(trt.__version__), '', '', f'{platform.system()}-{platform.release()}',
                   platform.machine(), flavor)


@functools.cache
def captured_log(trt: Any) -> Any:
    """
    Return the logger of this process; TensorRT takes no second one.

    It keeps the newest lines, in ``lines`` as (severity, text). Return values of TensorRT say
    only that something failed; why stands nowhere but here. ``listener``, where there is one,
    gets every row at once, as (letter of the severity, text).

    :param trt: the module of TensorRT.
    """
    class CapturedLog(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[str, str]] = []
            self.listener: Callable[[str, str], None] | None = None

        def log(self, severity: Any, msg: str) -> None:
            kind = trt.ILogger.Severity
            if self.listener is not None:
                letters = {kind.INTERNAL_ERROR: 'E', kind.ERROR: 'E', kind.WARNING: 'W',
                           kind.VERBOSE: 'V'}
                self.listener(letters.get(severity, 'I'), str(msg))
            names = {kind.INTERNAL_ERROR: 'error', kind.ERROR: 'error', kind.WARNING: 'warning'}
            if severity in names:
                del self.lines[:-_KEPT_LINES]
                self.lines.append((names[severity], ' '.join(str(msg).split())))

    return CapturedLog()


def told(log: Any, severity: str) -> list[str]:
    """
    Return the different lines of one severity, the first one first: it names the cause.

    :param log: from :func:`captured_log`.
    :param severity: 'error' or 'warning'.
    """
    return list(dict.fromkeys(text for kind, text in log.lines if kind == severity))


@dataclass(frozen=True)
class Tensor:
    """One input or output of an engine, with the shape of a batch of one."""

    name: str
    shape: tuple[int, ...]
    dtype: Any

    @property
    def nbytes(self) -> int:
        """Size in bytes, at least one."""
        return max(1, int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize)


class TensorRTNetwork:
    """
    Engine and execution context; made, used and let go with the device entered.

    ``inputs`` and ``outputs`` hold every tensor of the engine; ``warnings`` what TensorRT
    remarked while loading.
    """

    def __init__(self, trt: Any, plan: Path, bundle: Bundle) -> None:
        """
        Load the engine and compare its tensors with the contract.

        :param trt: the module of TensorRT.
        :param plan: the engine, already compared with its note.
        :param bundle: the policy.
        :raises EngineError: if TensorRT refuses it, or it has other tensors; with the reason
            that TensorRT's log gives.
        """
        self._plan, self._again = plan, rebuild(bundle.folder)
        self._log: Any = captured_log(trt)
        self._log.lines.clear()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        try:
            self._load(trt, bundle)
        except Exception:
            self.close()
            raise
        self.warnings = tuple(f'TensorRT: {line}'
                              for line in told(self._log, 'warning')[:_TOLD_WARNINGS])

    def _load(self, trt: Any, bundle: Bundle) -> None:
        self._runtime = self._made('Runtime', lambda: trt.Runtime(self._log))
        self._engine = self._made('the engine', functools.partial(
            self._runtime.deserialize_cuda_engine, self._plan.read_bytes()))
        self._context = self._made('an execution context', self._engine.create_execution_context)
        shapes = _contract_shapes(bundle)
        names = [self._engine.get_tensor_name(index)
                 for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
                    for name in names}
        self._check_names(is_input, bundle)
        self._fix_shapes([name for name in names if is_input[name]], shapes)
        types = {trt.DataType.FLOAT: np.float32, trt.DataType.HALF: np.float16}
        for name in names:
            side = self.inputs if is_input[name] else self.outputs
            side[name] = self._tensor(name, types, shapes)

    def _made(self, what: str, make: Callable[[], Any]) -> Any:
        try:
            result = make()
        except Exception as error:  # noqa: BLE001  pybind11 has TypeError where C++ gave nothing
            self._refuse(f'TensorRT could not make {what} ({error})')
        if result is None:
            self._refuse(f'TensorRT could not make {what}')
        return result

    def _refuse(self, what: str) -> NoReturn:
        errors = told(self._log, 'error')
        reason = f'; TensorRT says: {errors[0]}' if errors else ''
        raise EngineError(f'{self._plan}: {what}{reason}; {self._again}')

    def _check_names(self, is_input: dict[str, bool], bundle: Bundle) -> None:
        network = bundle.contract.network
        inputs = {network.input, *(state.input for state in network.recurrent)}
        outputs = {network.output, *(state.output for state in network.recurrent)}
        seen = {name for name, mode in is_input.items() if mode}
        if seen != inputs:
            self._refuse(f'the engine has the inputs {sorted(seen)}, the contract expects '
                         f'{sorted(inputs)}')
        if not outputs <= set(is_input) - seen:
            self._refuse(f'the engine has the outputs {sorted(set(is_input) - seen)}, the '
                         f'contract expects {sorted(outputs)}')

    def _fix_shapes(self, inputs: list[str], shapes: dict[str, tuple[int, ...]]) -> None:
        """Choose a batch of one wherever the engine leaves a dimension open."""
        for name in inputs:
            if -1 in tuple(self._engine.get_tensor_shape(name)) \
                    and not self._context.set_input_shape(name, shapes[name]):
                self._refuse(f"input '{name}' cannot have the shape {list(shapes[name])}")
        missing = self._context.infer_shapes()
        if missing:
            self._refuse(f'the shapes of {list(missing)} remain open')

    def _tensor(self, name: str, types: dict[Any, Any], shapes: dict[str, tuple[int, ...]]) \
            -> Tensor:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
        dtype = self._engine.get_tensor_dtype(name)
        if shapes.get(name, shape) != shape or -1 in shape:
            self._refuse(f"tensor '{name}' has the shape {list(shape)}, the contract expects "
                         f'{list(shapes.get(name, ()))}')
        if dtype not in types:
            self._refuse(f"tensor '{name}' is of type {dtype}, expected float32 or float16")
        return Tensor(name, shape, types[dtype])

    def bind(self, name: str, address: int) -> None:
        """
        Tell where a tensor is.

        :param name: one of the inputs or outputs.
        :param address: on the GPU, a multiple of 256.
        :raises EngineError: if TensorRT refuses it.
        """
        if not self._context.set_tensor_address(name, address):
            self._refuse(f"the address {address:#x} of tensor '{name}' was refused")

    def enqueue(self, stream_handle: int) -> None:
        """
        Put one inference on a stream.

        :param stream_handle: the stream.
        :raises EngineError: if TensorRT did not; the outputs are then of no use.
        """
        if not self._context.execute_async_v3(stream_handle):
            self._refuse('the inference was not started')

    def close(self) -> None:
        """Let go of all, in the order that TensorRT wants; harmless when repeated."""
        self._context = None
        self._engine = None
        self._runtime = None


def _contract_shapes(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    contract, network = bundle.contract, bundle.contract.network
    shapes: dict[str, tuple[int, ...]] = {
        network.input: (1, contract.observation_width),
        network.output: (1, contract.action_width)}
    for state in network.recurrent:
        shapes[state.input] = shapes[state.output] = tuple(state.shape)
    return shapes
