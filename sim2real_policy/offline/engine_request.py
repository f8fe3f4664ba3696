"""What is to be built: the options of the engine builder, and the shapes of the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2real_policy.bundle import Bundle
from sim2real_policy.engine_sidecar import ShapeRange
from sim2real_policy.errors import EngineError
from sim2real_policy.offline.onnx_session import open_session

PRECISIONS = ('fp32', 'fp16', 'int8')
WORKSPACE_MIB = 256
Version = tuple[int, ...]
PRECISION_IN_NETWORK: Version = (11,)  # from this TensorRT on, and always for RTX


@dataclass(frozen=True)
class EngineRequest:
    """
    The options of one build.

    ``workspace`` is scratch memory of the builder [MiB]. ``strongly_typed`` takes the precision
    from the network file, as TensorRT 11 always does.
    """

    bundle: Bundle
    precision: str = 'fp32'
    max_batch: int = 1
    workspace: int = WORKSPACE_MIB
    strongly_typed: bool = False

    def converts(self, version: Version) -> bool:
        """
        Tell whether the precision has to stand in the network itself.

        :param version: of TensorRT.
        """
        if self.precision == 'fp16':
            return self.strongly_typed or version >= PRECISION_IN_NETWORK
        return self.precision == 'int8'


@dataclass(frozen=True)
class NetworkShapes:
    """Range of every input, and the names of those that leave a dimension open."""

    ranges: dict[str, ShapeRange]
    open_inputs: tuple[str, ...]


def read_shapes(onnx: Path, bundle: Bundle, max_batch: int) -> NetworkShapes:
    """
    Read the inputs of a network and decide how large an engine must take them.

    :param onnx: the network.
    :param bundle: its contract tells what the robot feeds.
    :param max_batch: largest batch; the robot itself asks with a batch of one.
    :raises EngineError: if the inputs are not the contract's, or the network fixes its batch.
    """
    contract = bundle.contract
    expected = {contract.network.input: (1, contract.observation_width),
                **{state.input: state.shape for state in contract.network.recurrent}}
    ranges, open_inputs = {}, []
    for tensor in open_session(onnx).get_inputs():
        if tensor.name not in expected:
            raise EngineError(f"{onnx} has the input '{tensor.name}', expected "
                              f'{sorted(expected)} as in the contract; export the bundle again')
        ranges[tensor.name] = _range(tensor, expected[tensor.name], max_batch, onnx)
        if any(not isinstance(extent, int) for extent in tensor.shape):
            open_inputs.append(tensor.name)
    missing = sorted(set(expected) - set(ranges))
    if missing:
        raise EngineError(f'{onnx} lacks the inputs {missing} of the contract; export the bundle '
                          'again')
    if max_batch > 1 and not open_inputs:
        raise EngineError(f'--max-batch is {max_batch}, but {onnx} fixes its batch at 1; leave '
                          'the option out, or export with a dynamic batch')
    return NetworkShapes(ranges, tuple(open_inputs))


def _range(tensor: Any, wanted: tuple[int, ...], max_batch: int, onnx: Path) -> ShapeRange:
    shape = tuple(tensor.shape)
    fits = len(shape) == len(wanted) and all(
        extent == size for extent, size in zip(shape, wanted, strict=True)
        if isinstance(extent, int))
    if not fits:
        raise EngineError(f"{onnx}: input '{tensor.name}' has shape {list(shape)}, the contract "
                          f'says {list(wanted)}; export the bundle again')
    largest = tuple(max_batch if size == 1 and not isinstance(extent, int) else size
                    for extent, size in zip(shape, wanted, strict=True))
    return ShapeRange(min=wanted, opt=wanted, max=largest)
