"""Chooses where the arithmetic happens: on the GPU, or where pycuda is a stand-in, on the CPU."""

from __future__ import annotations

from typing import Any

import pycuda.driver

from .network import Network


def make_kernels(network: Network) -> Any:
    """Return what prepares and runs a network."""
    if getattr(pycuda.driver, 'IS_STANDIN', False):
        from .host_kernels import HostKernels
        return HostKernels(network)
    from .gpu_kernels import GpuKernels
    return GpuKernels(network)
