#!/usr/bin/env bash
# Tests and measures the TensorRT runner on the NVIDIA GPU of this machine.
#
# Needs: driver, CUDA toolkit (nvcc), and for the Python that runs it: pycuda, numpy, onnx,
# onnxruntime, pydantic, pyyaml, pytest. With TensorRT installed the tests run on it, without it
# on a stand-in that computes on the same GPU. PyTorch and CuPy are used where they are there.
#
#     test/gpu/run_gpu_tests.sh                 tests, then the table of latencies
#     test/gpu/run_gpu_tests.sh --no-benchmark  tests alone
#     PYTHON=python3.12 test/gpu/run_gpu_tests.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PATH=$PATH:/usr/local/cuda/bin

"$python" - <<'CHECK'
import sys
try:
    import pycuda.driver as cuda
    cuda.init()
    sys.stdout.write(f'{cuda.Device(0).name()}, driver {cuda.get_driver_version()}, '
                     f'pycuda built with CUDA {cuda.get_version()}\n')
except Exception as error:
    sys.exit(f'run_gpu_tests.sh: there is no usable GPU or pycuda: {error}')
CHECK
"$python" -m pytest test/gpu -p no:cacheprovider --durations=5
if [[ ${1:-} != --no-benchmark ]]; then
    "$python" test/gpu/benchmark_gpu.py
fi
