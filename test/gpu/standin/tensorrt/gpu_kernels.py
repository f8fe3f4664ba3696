"""
The arithmetic on the GPU, through the driver alone, as TensorRT's own kernels would be launched.

One kernel per layer. Memory between the layers is taken at the first inference, as TensorRT does
with some of its resources: a CUDA graph cannot be recorded before that.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import sys
from typing import Any

import numpy as np
import pycuda.compiler
import pycuda.driver

from .network import Network, Step

SOURCE = r"""
#include <cuda_fp16.h>
__device__ float activate(float x, int kind) {
    if (kind == 1) return x > 0.0f ? x : expm1f(x);
    if (kind == 2) return fmaxf(x, 0.0f);
    if (kind == 3) return tanhf(x);
    if (kind == 4) return 1.0f / (1.0f + expf(-x));
    return x;
}
extern "C" __global__ void dense(const float* x, const float* w, const float* b, float* y,
                                 int n, int m, int kind) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    float sum = 0.0f;
    for (int i = lane; i < n; i += 32) sum += w[(size_t)row * n + i] * x[i];
    for (int step = 16; step; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (lane == 0) y[row] = activate(b ? sum + b[row] : sum, kind);
}
extern "C" __global__ void join(const float* x, const float* other, float* y, int n, int kind) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = activate(other ? x[i] + other[i] : x[i], kind);
}
extern "C" __global__ void widen(const __half* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __half2float(x[i]);
}
extern "C" __global__ void narrow(const float* x, __half* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __float2half(x[i]);
}
"""
BLOCK = 128
WARP = 32
_driver = ctypes.CDLL('libcuda.so.1')
Launch = tuple[Any, int, Any, Any]


def _call(name: str, *arguments: Any) -> None:
    code = getattr(_driver, name)(*arguments)
    if code:
        raise RuntimeError(f'{name} returned {code}')


class _Memory:
    """Device memory; the context must be current when it dies."""

    def __init__(self, array: Any) -> None:
        self.address = ctypes.c_void_p()
        _call('cuMemAlloc_v2', ctypes.byref(self.address), ctypes.c_size_t(array.nbytes))
        _call('cuMemcpyHtoD_v2', self.address, array.ctypes.data_as(ctypes.c_void_p),
              ctypes.c_size_t(array.nbytes))

    def __del__(self) -> None:
        code = _driver.cuMemFree_v2(self.address)
        if code:
            sys.stderr.write(f'stand-in for TensorRT: memory freed without a context ({code})\n')


class GpuKernels:
    """The weights on the GPU, and the kernels."""

    def __init__(self, network: Network) -> None:
        self._network = network
        major, minor = pycuda.driver.Context.get_device().compute_capability()
        cubin = pycuda.compiler.compile(SOURCE, no_extern_c=True, arch=f'sm_{major}{minor}')
        self._module = ctypes.c_void_p()
        _call('cuModuleLoadData', ctypes.byref(self._module), cubin)
        self._weights = [(None if step.weight is None else _Memory(step.weight),
                          None if step.bias is None else _Memory(step.bias))
                         for step in network.steps]

    def __del__(self) -> None:
        if getattr(self, '_module', None):
            _driver.cuModuleUnload(self._module)

    def _function(self, name: str) -> Any:
        function = ctypes.c_void_p()
        _call('cuModuleGetFunction', ctypes.byref(function), self._module, name.encode())
        return function

    def prepare(self, addresses: dict[str, int]) -> Callable[[int], None]:
        network, places = self._network, dict(addresses)
        launches: list[Launch] = []
        between = {}
        for name, size in network.sizes.items():
            given = name in addresses
            if not given or network.tensor(name).dtype == np.float16:
                between[name] = _Memory(np.zeros(size, dtype=np.float32))
                places[name] = between[name].address.value
        launches += [self._elementwise('widen', [addresses[name], places[name]],
                                       network.sizes[name])
                     for name in network.inputs if name in between]
        launches += [self._step(step, places, memories)
                     for step, memories in zip(network.steps, self._weights, strict=True)]
        launches += [self._elementwise('narrow', [places[name], addresses[name]],
                                       network.sizes[name])
                     for name in network.outputs if name in between]

        def run(stream_handle: int, _keep: Any = between) -> None:
            stream = ctypes.c_void_p(stream_handle)
            for function, blocks, arguments, _ in launches:
                code = _driver.cuLaunchKernel(function, blocks, 1, 1, BLOCK, 1, 1, 0, stream,
                                              arguments, None)
                if code:
                    raise RuntimeError(f'cuLaunchKernel returned {code}')
        return run

    def _step(self, step: Step, places: dict[str, Any], memories: Any) -> Launch:
        source, out = places[step.source], places[step.out]
        if step.weight is None:
            other = places[step.other] if step.other else None
            return self._launch('join', -(-step.size // BLOCK),
                                [source, other, out], [step.size, step.activation])
        weight, bias = (None if memory is None else memory.address.value for memory in memories)
        rows, columns = step.weight.shape
        return self._launch('dense', -(-rows // (BLOCK // WARP)), [source, weight, bias, out],
                            [columns, rows, step.activation])

    def _elementwise(self, name: str, pointers: list[Any], size: int) -> Launch:
        return self._launch(name, -(-size // BLOCK), pointers, [size])

    def _launch(self, name: str, blocks: int, pointers: list[Any], numbers: list[int]) -> Launch:
        values = [*map(ctypes.c_void_p, pointers), *map(ctypes.c_int, numbers)]
        arguments = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        return self._function(name), blocks, arguments, values
