"""
The network on an NVIDIA GPU, as a TensorRT engine.

A tick does nothing but copy, launch and wait: memory, shapes, addresses and the CUDA graph are
settled before. Where CPU and GPU share their memory (Jetson) nothing is copied either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import os
from pathlib import Path
import traceback
from typing import Any
import weakref

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Bundle, GOLDEN_TOLERANCE
from sim2real_policy.cuda_device import CudaDevice, CudaGraph, import_driver, open_device
from sim2real_policy.engine_file import check_engine, PRODUCTS, read_plan_header
from sim2real_policy.engine_sidecar import EngineSidecar, rebuild, TOLERANCE
from sim2real_policy.errors import EngineError
from sim2real_policy.inference import RunnerFacts
from sim2real_policy.tensorrt_network import (
    import_tensorrt,
    Tensor,
    TensorRTNetwork,
    this_machine,
)

Array = NDArray[np.float32]
_WARM_UP_RUNS = 50


class TensorRTRunner:
    """
    Runs an engine with a batch of one.

    Use it from one thread. ``input`` and ``output`` lie in pinned memory and remain readable
    after :meth:`close`.
    """

    name = 'tensorrt'

    def __init__(self, bundle: Bundle, plan: Path, wait: str = 'spin',
                 mapped: bool | None = None, graph: bool = True) -> None:
        """
        Check the engine, load it, allocate everything, and run it until it is warm.

        :param bundle: the policy.
        :param plan: one of the bundle's engines.
        :param wait: one of :data:`sim2real_policy.inference.GPU_WAITS`.
        :param mapped: let the GPU work in the CPU's memory; None: where both share it.
        :param graph: record a CUDA graph where that is possible.
        :raises MissingDependencyError: if TensorRT or pycuda is not installed.
        :raises EngineError: if the engine is damaged, not this machine's or not this policy's,
            or fails on the GPU.
        """
        flavor = read_plan_header(plan, rebuild(bundle.folder)).flavor
        trt = import_tensorrt(flavor)
        cuda = import_driver()
        machine = this_machine(trt, flavor)
        check_engine(plan, bundle, machine)  # before anything speaks to the GPU
        device = open_device()
        note = check_engine(plan, bundle, replace(
            machine, gpu_name=device.name, compute_capability=device.compute_capability))
        self._device, self._cuda_error = device, cuda.Error
        self._job = job = _Job(device, wait)
        self._finalizer = weakref.finalize(self, job.close)
        try:
            with device:
                network = TensorRTNetwork(trt, plan, bundle)
                self.input, self.output = job.load(network, bundle, mapped)
                manner = job.warm_up(graph)
        except Exception as error:
            _let_go(error)
            self.close()
            if isinstance(error, cuda.Error):
                raise EngineError(f'{plan} fails on {device.name}: {error}') from None
            raise
        self.facts = RunnerFacts(
            f'engine {plan.name} ({note.precision}, {PRODUCTS[flavor]} {note.tensorrt_version}) '
            f'on {device.name}, {manner}', network.warnings, _tolerance(note, bundle))

    def run(self) -> None:
        """
        Compute ``output`` from ``input`` and advance the recurrent state.

        :raises EngineError: if the GPU fails; ``output`` is then of no use.
        """
        device, job = self._device, self._job
        device.push()
        try:
            job.before()
            job.launch()
            job.wait()
            job.after()
        except Exception as error:
            _let_go(error)
            if isinstance(error, self._cuda_error):
                raise EngineError(f'{self.facts.reason}: the GPU failed: {error}') from None
            raise
        finally:
            device.pop()

    def reset(self) -> None:
        """Set the recurrent state to zero."""
        if self._job.states:
            with self._device:
                self._job.clear_states()

    def close(self) -> None:
        """Release what the runner holds; harmless when repeated."""
        self._finalizer()


class _Job:
    """
    All that a runner holds on the GPU, and the work on its stream.

    Apart from the runner, so that it can be closed when the runner is already gone.
    """

    def __init__(self, device: CudaDevice, wait: str) -> None:
        self.states: list[tuple[Any, Any, int]] = []  # read from, written to, bytes
        self.launch: Callable[[], None] = _refuse_closed
        self.wait: Callable[[], None] = {
            'spin': self._spin, 'yield': self._yield, 'block': self._block}[wait]
        self.before: Callable[[], None] = _nothing
        self.after: Callable[[], None] = _nothing
        self._device, self._cuda, self._wait_name = device, device.cuda, wait
        self._network: TensorRTNetwork | None = None
        self._graph: CudaGraph | None = None
        self._stream: Any = None
        self._event: Any = None
        self._memory: dict[str, Any] = {}
        self._copies_in: list[tuple[Any, Any]] = []
        self._copies_out: list[tuple[Any, Any]] = []

    def load(self, network: TensorRTNetwork, bundle: Bundle, mapped: bool | None) \
            -> tuple[Array, Array]:
        """Allocate and bind, the device being entered; return input and output."""
        self._network = network
        names = bundle.contract.network
        self._mapped = self._device.shares_memory if mapped is None else mapped
        self._stream = self._device.stream()
        self._event = self._device.blocking_event()
        seen, self.before = self._put_on_host(network.inputs[names.input], is_input=True)
        answer, self.after = self._put_on_host(network.outputs[names.output], is_input=False)
        for tensor in [*network.inputs.values(), *network.outputs.values()]:
            if tensor.name not in (names.input, names.output):
                self._memory[tensor.name] = self._cuda.mem_alloc(tensor.nbytes)
                network.bind(tensor.name, int(self._memory[tensor.name]))
        for state in names.recurrent:
            before, after = network.inputs[state.input], network.outputs[state.output]
            if before.dtype != after.dtype:
                raise EngineError(f"recurrent state '{state.input}' is {before.dtype.__name__}, "
                                  f"but '{state.output}' {after.dtype.__name__}; build the "
                                  'engine from an ONNX file where both are the same')
            self.states.append((self._memory[state.input], self._memory[state.output],
                                before.nbytes))
        return seen, answer

    def _put_on_host(self, tensor: Tensor, is_input: bool) \
            -> tuple[Array, Callable[[], None]]:
        """Return the float32 array of a tensor, and what converts between it and the GPU's."""
        assert self._network is not None
        array, address = self._device.host_array(tensor.shape, tensor.dtype, self._mapped)
        if not self._mapped:
            self._memory[tensor.name] = memory = self._cuda.mem_alloc(tensor.nbytes)
            address = int(memory)
            (self._copies_in if is_input else self._copies_out).append((memory, array))
        self._network.bind(tensor.name, address)
        if tensor.dtype == np.float32:
            return array, _nothing
        real: Array = np.zeros(tensor.shape, dtype=np.float32)
        to, source = (array, real) if is_input else (real, array)
        return real, lambda: np.copyto(to, source, casting='same_kind')

    def warm_up(self, graph: bool) -> str:
        """Run, record, run again, the device being entered; tell in words how it runs."""
        self.clear_states()
        self.launch = self._enqueue
        self._run_once()  # what TensorRT sets up at its first run would spoil a recording
        manner = 'plain enqueue'
        if graph:
            try:
                self._graph = CudaGraph(self._stream.handle, self._enqueue)
            except (EngineError, self._cuda.Error) as error:
                manner = f'plain enqueue, since no CUDA graph could be recorded ({error})'
            else:
                self.launch = self._graph.launch
                manner = 'CUDA graph'
        for _ in range(_WARM_UP_RUNS):
            self._run_once()
        self.clear_states()
        return f"{manner}, {'mapped memory' if self._mapped else 'copies'}, {self._wait_name}"

    def _run_once(self) -> None:
        self.before()
        self.launch()
        self.wait()
        self.after()

    def _enqueue(self) -> None:
        stream, cuda = self._stream, self._cuda
        assert self._network is not None
        for memory, array in self._copies_in:
            cuda.memcpy_htod_async(memory, array, stream)
        self._network.enqueue(stream.handle)
        for before, after, nbytes in self.states:
            cuda.memcpy_dtod_async(before, after, nbytes, stream)
        for memory, array in self._copies_out:
            cuda.memcpy_dtoh_async(array, memory, stream)

    def clear_states(self) -> None:
        """Set the recurrent state to zero; the device is entered."""
        for before, _, nbytes in self.states:
            self._cuda.memset_d8_async(before, 0, nbytes, self._stream)

    def _spin(self) -> None:
        while not self._stream.is_done():
            pass

    def _yield(self) -> None:
        while not self._stream.is_done():
            os.sched_yield()

    def _block(self) -> None:
        self._event.record(self._stream)
        self._event.synchronize()

    def close(self) -> None:
        """Free everything, whatever state it is in; for any thread, and harmless when repeated."""
        self.launch = self.wait = _refuse_closed
        self.before = self.after = _nothing
        self.states = []
        self._device.push()
        try:
            if self._stream is not None:
                self._stream.synchronize()
        except self._cuda.Error:
            pass  # a GPU that failed before: its memory goes all the same
        finally:
            self._free()
            self._device.pop()

    def _free(self) -> None:
        if self._graph is not None:
            self._graph.destroy()
        if self._network is not None:
            self._network.close()
        self._graph = self._network = self._event = self._stream = None
        self._memory = {}
        self._copies_in, self._copies_out = [], []
        self._device.collect()


def _let_go(error: Exception) -> None:
    """Empty the frames of an error: what they hold would be freed when no context is there."""
    traceback.clear_frames(error.__traceback__)


def _nothing() -> None:
    """Convert nothing: the tensor is float32."""


def _refuse_closed() -> None:
    raise EngineError('the TensorRT runner is closed; make a new one')


def _tolerance(note: EngineSidecar, bundle: Bundle) -> float:
    """Return the raw action's tolerance: that of the proof, which is relative above one."""
    largest = max(1.0, float(np.abs(bundle.golden.actions).max()))
    return max(GOLDEN_TOLERANCE, TOLERANCE[note.precision] * largest)
