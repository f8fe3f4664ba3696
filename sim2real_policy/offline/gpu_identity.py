"""Name and compute capability of the first GPU, from NVIDIA's driver itself."""

from __future__ import annotations

import ctypes

_DRIVER = 'libcuda.so.1'
_NAME_BYTES = 256
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def gpu_identity(driver: str = _DRIVER) -> tuple[str, str]:
    """
    Return such as ('Orin', '8.7'), or two empty strings where there is no GPU.

    :param driver: name of the driver's library.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return '', ''
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    # Each call answers 0 where it succeeds; the first that does not ends the chain.
    failed = (cuda.cuInit(0)
              or cuda.cuDeviceGet(ctypes.byref(device), 0)
              or cuda.cuDeviceGetName(name, _NAME_BYTES, device)
              or cuda.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
              or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device))
    return ('', '') if failed else (name.value.decode(), f'{major.value}.{minor.value}')
