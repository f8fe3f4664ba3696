"""
The GPU through pycuda: the primary context, pinned and device memory, CUDA graphs.

A context is current in one thread at a time, and pycuda aborts the whole process when a thread
ends with one still pushed. So a device is entered with ``with`` around every use, and never left
entered.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
import ctypes
import functools
from typing import Any
import weakref

from numpy.typing import NDArray
from sim2real_policy.errors import EngineError, MissingDependencyError

_NON_BLOCKING = 1
_THREAD_LOCAL = 1  # another thread's cudaMalloc would spoil a capture in global mode
_DRIVER_LIBRARY = 'libcuda.so.1'


class CudaDevice:
    """
    One GPU; entering it makes its primary context current in this thread, leaving it ends that.

    The primary context is the one that TensorRT, PyTorch and CuPy use too. It stays retained as
    long as the process lives, as the CUDA runtime itself does it: releasing it under their feet
    frees nothing.
    """

    def __init__(self, cuda: Any, index: int) -> None:
        """
        Look at the GPU and retain its primary context.

        :param cuda: the module ``pycuda.driver``.
        :param index: number of the GPU, among those that ``CUDA_VISIBLE_DEVICES`` shows.
        """
        cuda.init()
        device = cuda.Device(index)
        attribute = cuda.device_attribute
        self.cuda = cuda
        self.name: str = device.name()
        self.compute_capability = '.'.join(map(str, device.compute_capability()))
        # PAGEABLE_MEMORY_ACCESS tells less: discrete GPUs have it too, over PCIe.
        self.shares_memory = bool(device.get_attribute(attribute.INTEGRATED)
                                  and device.get_attribute(attribute.CAN_MAP_HOST_MEMORY))
        self._context = device.retain_primary_context()
        self._lent: list[tuple[weakref.ref[NDArray[Any]], Any]] = []
        self.push = self._context.push
        self.pop = cuda.Context.pop
        atexit.register(self._leave_to_the_system)

    def __enter__(self) -> CudaDevice:
        """Make the context current in this thread."""
        self.push()
        return self

    def __exit__(self, *unused: object) -> None:
        """Take it from this thread again."""
        self.pop()

    def host_array(self, shape: tuple[int, ...], dtype: Any, mapped: bool) \
            -> tuple[NDArray[Any], int]:
        """
        Allocate pinned memory; the device is entered.

        It stays while anybody looks at it, even after the runner is closed, and is given back by
        :meth:`collect`.

        :param shape: of the array.
        :param dtype: NumPy type.
        :param mapped: let the GPU read and write it in place.
        :returns: the array, zeros, and the address at which the GPU sees it (0: it does not).
        """
        flags = self.cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        array = self.cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        array.fill(0)
        # Views point to the array, and only the array to its memory: freed where the last view
        # dies, in a thread without a context, it would be lost.
        self._lent.append((weakref.ref(array), array.base))
        return array, int(array.base.get_device_pointer()) if mapped else 0

    def collect(self) -> None:
        """Free the pinned memory that nobody looks at any more; the device is entered."""
        self._lent = [(array, memory) for array, memory in self._lent if array() is not None]

    def _leave_to_the_system(self) -> None:
        """Keep what is still lent when Python ends: it would be freed without a context."""
        for _, memory in self._lent:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))

    def stream(self) -> Any:
        """Return a new stream that does not wait for the default one; the device is entered."""
        return self.cuda.Stream(_NON_BLOCKING)

    def blocking_event(self) -> Any:
        """Return an event whose waiting thread sleeps; the device is entered."""
        flags = self.cuda.event_flags
        return self.cuda.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING)


@functools.cache
def open_device(index: int = 0) -> CudaDevice:
    """
    Return the GPU; the same one each time.

    :param index: its number.
    :raises MissingDependencyError: if pycuda is not installed.
    :raises EngineError: if there is no driver or no GPU.
    """
    cuda = import_driver()
    try:
        return CudaDevice(cuda, index)
    except cuda.Error as error:
        raise EngineError(f'there is no usable NVIDIA GPU: {error}. Check the driver; in a '
                          'container, start it with --runtime nvidia') from None


def import_driver() -> Any:
    """
    Return the module ``pycuda.driver``.

    :raises MissingDependencyError: if pycuda is not installed.
    :raises EngineError: if it does not find the driver.
    """
    try:
        import pycuda.driver
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            'pycuda', 'to run a TensorRT engine', 'pip install pycuda (with the CUDA toolkit: '
            'nvcc must be on PATH, on a Jetson in /usr/local/cuda/bin)') from error
    except ImportError as error:
        raise EngineError(f'pycuda cannot be loaded: {error}. Where the driver is missing, '
                          'install it; in a container, start it with --runtime nvidia; where '
                          'NumPy or CUDA changed, pip install --force-reinstall --no-cache-dir '
                          'pycuda') from None
    return pycuda.driver


class CudaGraph:
    """
    Recorded work that is launched with one call.

    pycuda has no graphs, so this speaks to the driver itself. The launch keeps Python's lock:
    it takes some microseconds, and giving the lock away could cost milliseconds.
    """

    def __init__(self, stream_handle: int, enqueue: Callable[[], None]) -> None:
        """
        Record; the device is entered, and all was enqueued and finished once before.

        :param stream_handle: the stream.
        :param enqueue: puts the work on it.
        :raises EngineError: if something in it cannot be recorded; the stream is as before.
        """
        try:
            self._driver = ctypes.CDLL(_DRIVER_LIBRARY)
            launch = ctypes.PyDLL(_DRIVER_LIBRARY).cuGraphLaunch
        except OSError as error:
            raise EngineError(f'the driver cannot be loaded: {error}') from None
        self._executable = ctypes.c_void_p()
        self._stream = ctypes.c_void_p(stream_handle)
        graph = self._record(enqueue)
        try:
            self._call('cuGraphInstantiateWithFlags', ctypes.byref(self._executable), graph,
                       ctypes.c_ulonglong(0))
        finally:
            self._driver.cuGraphDestroy(graph)
        self._launch = functools.partial(launch, self._executable, self._stream)

    def _record(self, enqueue: Callable[[], None]) -> ctypes.c_void_p:
        graph = ctypes.c_void_p()
        self._call('cuStreamBeginCapture_v2', self._stream, _THREAD_LOCAL)
        try:
            enqueue()
        except Exception:
            self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            if graph:
                self._driver.cuGraphDestroy(graph)
            raise
        self._call('cuStreamEndCapture', self._stream, ctypes.byref(graph))
        return graph

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise EngineError(f'{name} failed with CUDA error {code}')

    def launch(self) -> None:
        """
        Put the recorded work on its stream; the device is entered.

        :raises EngineError: if the driver refuses.
        """
        code = self._launch()
        if code:
            raise EngineError(f'cuGraphLaunch failed with CUDA error {code}')

    def destroy(self) -> None:
        """Free it; the device is entered and the stream idle."""
        if self._executable:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()
