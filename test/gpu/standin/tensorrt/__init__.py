"""
Stands in for TensorRT where it is not installed: same names, same refusals, own arithmetic.

Its "plan" is an ONNX file behind TensorRT's header. The engine computes on the very addresses and
the stream that it is given, on a real GPU through kernels of its own (``gpu_kernels.py``). So it
proves everything around TensorRT, and nothing about TensorRT's speed or numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
import enum
import struct
from typing import Any

import numpy as np

from .network import Network, read_network, UnsupportedError

__version__ = '99.0.0.0'
MAGIC = b'ftrt'
HEADER = struct.Struct('<4sIQQ4B')
VERSION = tuple(int(part) for part in __version__.split('.'))
ALIGNMENT = 256


class ILogger:
    """Base class of loggers."""

    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


def _error(logger: ILogger, text: str) -> None:
    if not hasattr(logger, '_ready'):
        raise TypeError('ILogger.__init__() must be called when overriding __init__')
    logger.log(ILogger.Severity.ERROR, text)


class DataType(enum.Enum):
    """Types of tensors."""

    FLOAT, HALF, INT8, INT32, BOOL = range(5)


class TensorIOMode(enum.Enum):
    """Which side of the network a tensor is on."""

    NONE, INPUT, OUTPUT = range(3)


class MemoryPoolType(enum.Enum):
    """Memory of the builder."""

    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    """Options of the builder."""

    TF32 = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    """As in TensorRT 11."""

    STRONGLY_TYPED = 0


_TYPES = {np.dtype(np.float32): DataType.FLOAT, np.dtype(np.float16): DataType.HALF}


class Runtime:
    """Reads plans."""

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        if not plan:
            return self._refuse('Cannot deserialize with an empty memory buffer')
        if plan[:4] != MAGIC:
            return self._refuse('Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG '
                                'failed.Trying to load an engine created with incompatible '
                                'serialization version')
        if len(plan) < HEADER.size:
            return self._refuse('Serialization assertion plan.header.size == blobSize failed.')
        _, _, _, size, *version = HEADER.unpack_from(plan)
        if size != len(plan):
            return self._refuse('Serialization assertion plan.header.size == blobSize failed.')
        if tuple(version) != VERSION:
            there = '.'.join(map(str, version))
            return self._refuse('The engine plan file is not compatible with this version of '
                                f'TensorRT, expecting library version {__version__} got {there}, '
                                'please rebuild.')
        try:
            network = read_network(plan[HEADER.size:])
            return ICudaEngine(self.logger, network)
        except (UnsupportedError, RuntimeError) as error:
            return self._refuse(f'Serialization assertion failed: {error}')

    def _refuse(self, text: str) -> None:
        _error(self.logger, text)
        _error(self.logger, 'Runtime::deserializeCudaEngine: Error Code 4: API Usage Error')


class ICudaEngine:
    """A loaded plan."""

    def __init__(self, logger: ILogger, network: Network) -> None:
        from .kernels import make_kernels
        self.logger, self.network = logger, network
        self.kernels = make_kernels(network)
        self._names = [*network.inputs, *network.outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.network.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.network.tensor(name).shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return _TYPES[self.network.tensor(name).dtype]

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self)


class IExecutionContext:
    """One user of an engine."""

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self._shapes = {name: engine.get_tensor_shape(name) for name in engine.network.inputs}
        self._addresses: dict[str, int] = {}
        self._job: Any = None

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        shape, declared = tuple(shape), self.engine.get_tensor_shape(name)
        if len(shape) != len(declared) or any(
                there not in (-1, here) for here, there in zip(shape, declared, strict=True)):
            _error(self.engine.logger, f'IExecutionContext::setInputShape: Error Code 3: {name} '
                   f'has the dimensions {declared}, set were {shape}')
            return False
        self._shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name, shape in self._shapes.items() if -1 in shape]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        batch = next(iter(self._shapes.values()))[0]
        return tuple(batch if size == -1 else size for size in self.engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        if address % ALIGNMENT:
            _error(self.engine.logger, f'IExecutionContext::setTensorAddress: Error Code 3: '
                   f'{name} is at {address:#x}, which is not aligned to {ALIGNMENT} bytes')
            return False
        self._addresses[name] = address
        self._job = None
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        lacking = [name for name in [*self.engine.network.inputs, *self.engine.network.outputs]
                   if name not in self._addresses]
        if lacking:
            _error(self.engine.logger, 'IExecutionContext::enqueueV3: Error Code 3: Address is '
                   f'not set for tensor {lacking[0]}')
            return False
        try:
            if self._job is None:
                self._job = self.engine.kernels.prepare(self._addresses)
            self._job(stream_handle)
        except RuntimeError as error:
            _error(self.engine.logger, f'IExecutionContext::enqueueV3: Error Code 1: {error}')
            return False
        return True


class Builder:
    """Puts TensorRT's header before an ONNX file."""

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition,
                                 config: IBuilderConfig) -> bytes | None:
        if network.open_inputs() and not config.profiles:
            _error(self.logger, 'Network has dynamic or shape inputs, but no optimization profile '
                   'has been defined.')
            return None
        size = HEADER.size + len(network.onnx)
        return HEADER.pack(MAGIC, 0, 2, size, *VERSION) + network.onnx


class INetworkDefinition:
    """What the parser read."""

    onnx = b''

    def open_inputs(self) -> list[str]:
        return [name for name, tensor in read_network(self.onnx).inputs.items()
                if -1 in tensor.shape]


class IBuilderConfig:
    """Options."""

    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []

    def set_flag(self, flag: BuilderFlag) -> None:
        """Note nothing."""

    def clear_flag(self, flag: BuilderFlag) -> None:
        """Note nothing."""

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        """Note nothing."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class IOptimizationProfile:
    """Shapes."""

    def set_shape(self, name: str, smallest: Sequence[int], usual: Sequence[int],
                  largest: Sequence[int]) -> None:
        """Note nothing."""


class OnnxParser:
    """Reads ONNX."""

    num_errors = 0

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network, self.logger = network, logger

    def parse(self, onnx: bytes) -> bool:
        try:
            read_network(onnx)
        except UnsupportedError as error:
            _error(self.logger, str(error))
            return False
        self.network.onnx = bytes(onnx)
        return True

    def parse_from_file(self, path: str) -> bool:
        with open(path, 'rb') as file:
            return self.parse(file.read())
