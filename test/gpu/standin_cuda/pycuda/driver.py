"""
The part of ``pycuda.driver`` that the runner uses, on memory of the CPU, all at once.

It is strict where CUDA is: without a pushed context nothing is made, and ``calls`` remembers in
which order things happened.
"""

from __future__ import annotations

import enum
import threading
from typing import Any

import numpy as np

IS_STANDIN = True
PAGE = 4096
calls: list[str] = []
alive: dict[str, int] = {}
state: dict[str, Any] = {'integrated': False, 'init_error': '', 'fail_synchronize': False}
_stacks = threading.local()


class Error(Exception):
    """Base class."""


class LogicError(Error):
    """Wrong use."""


class LaunchError(Error):
    """The GPU failed."""


class device_attribute(enum.Enum):  # noqa: N801  pycuda's name
    INTEGRATED, CAN_MAP_HOST_MEMORY = range(2)


class host_alloc_flags:  # noqa: N801  pycuda's name
    DEVICEMAP = 2


class event_flags:  # noqa: N801  pycuda's name
    BLOCKING_SYNC, DISABLE_TIMING = 1, 2


def stack() -> list[Any]:
    """Return the contexts pushed in this thread."""
    if not hasattr(_stacks, 'contexts'):
        _stacks.contexts = []
    return _stacks.contexts


def _need_context(what: str) -> None:
    if not stack():
        raise LogicError(f'{what}: invalid device context - no currently active context?')


class _Counted:
    def __init__(self) -> None:
        kind = type(self).__name__
        _need_context(kind)
        alive[kind] = alive.get(kind, 0) + 1
        calls.append(f'make {kind}')

    def __del__(self) -> None:
        if stack is not None and stack():
            alive[type(self).__name__] -= 1


def init() -> None:
    if state['init_error']:
        raise LogicError(state['init_error'])


class Device:
    def __init__(self, index: int) -> None:
        self._context = Context()

    def name(self) -> str:
        return 'Stand-in GPU'

    def compute_capability(self) -> tuple[int, int]:
        return 8, 7

    def get_attribute(self, attribute: device_attribute) -> int:
        return int(state['integrated'])

    def retain_primary_context(self) -> Context:
        return self._context


class Context:
    def push(self) -> None:
        stack().append(self)
        calls.append('push')

    @staticmethod
    def pop() -> None:
        if not stack():
            raise LogicError('context::pop failed: cannot pop non-current context')
        stack().pop()
        calls.append('pop')


class PagelockedHostAllocation(_Counted):
    def __init__(self, array: Any, mapped: bool) -> None:
        super().__init__()
        self.memory, self._mapped = array, mapped

    def get_device_pointer(self) -> int:
        if not self._mapped:
            raise LogicError('cuMemHostGetDevicePointer failed: invalid argument')
        return int(self.memory.ctypes.data)


class _PinnedArray(np.ndarray):
    """An array that knows its allocation, as pycuda's does."""

    allocation: Any = None

    @property
    def base(self) -> Any:
        return self.allocation if self.allocation is not None else super().base


def _aligned(nbytes: int) -> Any:
    raw = np.full(nbytes + PAGE, 0xFF, dtype=np.uint8)
    start = -raw.ctypes.data % PAGE
    return raw[start:start + nbytes]


def pagelocked_empty(shape: tuple[int, ...], dtype: Any, mem_flags: int = 0) -> Any:
    _need_context('pagelocked_empty')
    dtype = np.dtype(dtype)
    memory = _aligned(int(np.prod(shape)) * dtype.itemsize)
    array = memory.view(dtype).reshape(shape).view(_PinnedArray)
    array.allocation = PagelockedHostAllocation(
        memory, bool(mem_flags & host_alloc_flags.DEVICEMAP))
    return array


class DeviceAllocation(_Counted):
    def __init__(self, nbytes: int) -> None:
        super().__init__()
        self.memory = _aligned(nbytes)

    def __int__(self) -> int:
        return int(self.memory.ctypes.data)


def mem_alloc(nbytes: int) -> DeviceAllocation:
    return DeviceAllocation(nbytes)


class Stream(_Counted):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self.flags, self.handle = flags, 1000

    def is_done(self) -> bool:
        calls.append('query')
        return True

    def synchronize(self) -> None:
        if state['fail_synchronize']:
            raise LaunchError('cuStreamSynchronize failed: an illegal memory access')


class Event(_Counted):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self.flags = flags

    def record(self, stream: Stream) -> Event:
        calls.append('record')
        return self

    def synchronize(self) -> Event:
        calls.append('wait')
        return self


def memcpy_htod_async(dest: DeviceAllocation, src: Any, stream: Stream) -> None:
    _need_context('memcpy_htod_async')
    calls.append('copy in')
    dest.memory[:] = np.asarray(src).view(np.uint8).reshape(-1)


def memcpy_dtoh_async(dest: Any, src: DeviceAllocation, stream: Stream) -> None:
    _need_context('memcpy_dtoh_async')
    calls.append('copy out')
    np.asarray(dest).reshape(-1).view(np.uint8)[:] = src.memory


def memcpy_dtod_async(dest: DeviceAllocation, src: DeviceAllocation, size: int,
                      stream: Stream) -> None:
    _need_context('memcpy_dtod_async')
    calls.append('carry')
    dest.memory[:size] = src.memory[:size]


def memset_d8_async(dest: DeviceAllocation, data: int, size: int, stream: Stream) -> None:
    _need_context('memset_d8_async')
    calls.append('clear')
    dest.memory[:size] = data
