"""
A stand-in for NVIDIA's trtexec: its options, its checks and its words, and no TensorRT.

It accepts exactly the options that one version parses (data/trtexec_flags.json), refuses what
that version refuses, and writes a file that begins as an engine does. Tests put it into place
with :func:`install`. ``STAND_IN_FAULT`` lets it fail as the real one was seen to.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import struct
import sys

FLAGS = Path(__file__).parent / 'data' / 'trtexec_flags.json'
STAMP = '[11/22/2026-10:00:00]'
FAULTS = {
    'memory': 'Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory '
              '(Requested size was 268435456 bytes.)',
    'workspace': 'Error[10]: IBuilder::buildSerializedNetwork: Error Code 10: Internal Error '
                 '(Could not find any implementation for node /1/Gemm: no tactics to implement '
                 'the operation within workspace limit)',
    'driver': 'Error[6]: [runtime.cpp::parsePlan::314] Error Code 6: Internal Error (cudaError '
              '35: CUDA driver version is insufficient for CUDA runtime version)',
}


def install(folder: Path, version: str, build: int = 0, name: str = 'trtexec') -> Path:
    """
    Write a program that behaves as trtexec of a version.

    :param folder: where to put it.
    :param version: one of the versions of the table.
    :param build: build number of TensorRT.
    :param name: of the program.
    """
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" '
                       f'{version} {build} "$@"\n')
    program.chmod(0o755)
    return program


def parsed_flags(version: str) -> set[str]:
    """
    Return the options that a version parses.

    :param version: one of the versions of the table.
    """
    table = json.loads(FLAGS.read_text())
    column = table['versions'].index(version)
    return {flag for flag, row in table['flags'].items() if row[column] == 'y'}


def main(version: str, build: int, arguments: list[str]) -> int:
    numbers = ([int(part) for part in version.split('.')] + [0])[:3]
    shown = numbers[0] * (1000 if numbers[0] < 10 else 10000) + numbers[1] * 100 + numbers[2]
    suffix = f' [b{build}]' if numbers >= [10, 4, 0] else ''
    title = f'TensorRT.trtexec [TensorRT v{shown}]{suffix} # trtexec {" ".join(arguments)}'
    say(f'&&&& RUNNING {title}')
    options = {}
    for argument in arguments:
        flag, _, value = argument.partition('=')
        if flag not in parsed_flags(version):
            say('=== Model Options ===\n  --onnx=<file>  ONNX model')
            return fail(title, f'Unknown option: {argument}')
        options[flag] = value
    if '--help' in options:
        say('=== Model Options ===\n  --onnx=<file>  ONNX model')
        return 0
    return run(numbers, build, options, title)


def run(numbers: list[int], build: int, options: dict[str, str], title: str) -> int:
    import onnxruntime
    try:
        inputs = onnxruntime.InferenceSession(options['--onnx']).get_inputs()
    except Exception:  # noqa: BLE001  any damage is one to trtexec
        return fail(title, f'Error[1]: ModelImporter.cpp:735: Failed to parse ONNX model from '
                    f'file: {options["--onnx"]}')
    shapes = options.get('--minShapes', '')
    dynamic = any(not isinstance(size, int) for tensor in inputs for size in tensor.shape)
    if shapes and not dynamic:
        return fail(title, 'Static model does not take explicit shapes since the shape of '
                    'inference tensors will be determined by the model itself')
    for spec in filter(None, shapes.split(',')):
        name = spec.rpartition(':')[0].strip("'")
        if name not in [tensor.name for tensor in inputs]:
            return fail(title, f'Cannot find input tensor with name "{name}" in the network '
                        'inputs! Please make sure the input tensor names are correct.')
    fault = os.environ.get('STAND_IN_FAULT', '')
    if fault in FAULTS:
        say(f'{STAMP} [I] [TRT] Local timing cache in use.')
        fail(title, FAULTS[fault])
        return fail(title, 'Engine could not be created from network')
    if fault == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == 'nothing':
        return 0
    for step in range(50):
        say(f'{STAMP} [V] [TRT] Timing Runner: step {step}')
    content = json.dumps(sorted(options)).encode()
    header = b'ftrt' + struct.pack('<IQQ4B', 0, 2, 28 + len(content), *numbers, build)
    Path(options['--saveEngine']).write_bytes(header + content)
    say(f'&&&& PASSED {title}')
    return 0


def fail(title: str, error: str) -> int:
    sys.stderr.write(f'{STAMP} [E] {error}\n')
    sys.stderr.flush()
    say(f'&&&& FAILED {title}')
    return 1


def say(line: str) -> None:
    sys.stdout.write(line + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
