#!/usr/bin/env python3
"""
Write the names of TensorRT's Python API, version by version, to test/data/tensorrt_names.

    python tools/make_tensorrt_tables.py WHEEL... [-o FOLDER]

The wheels hold the bindings alone (tensorrt-bindings 8.6.1, tensorrt-cu12-bindings 10.3.0,
10.13.3.9, 10.16.1.11 and 11.4.0.106, all for the Python that runs this); get them with
`pip download --no-deps`. The libraries behind them are not needed: for each one that the loader
wants, an empty library with the missing symbols is compiled (cc, readelf and nm are needed), the
bindings are imported, and their names and parameters are read. Nothing of TensorRT is called.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import zipfile

OUTPUT = Path(__file__).resolve().parents[1] / 'test' / 'data' / 'tensorrt_names'
# What a builder and a runner deal with; the layers of the network API are of no interest here.
CLASSES = (
    'Builder', 'BuilderFlag', 'CudaGraphStrategy', 'DataType', 'EngineValidity',
    'ExecutionContextAllocationStrategy', 'HardwareCompatibilityLevel', 'IBuilderConfig',
    'ICudaEngine', 'IErrorRecorder', 'IExecutionContext', 'IHostMemory', 'ILogger',
    'ILogger.Severity', 'INetworkDefinition', 'IOptimizationProfile', 'IRuntimeConfig',
    'ITensor', 'Logger', 'MemoryPoolType', 'NetworkDefinitionCreationFlag', 'OnnxParser',
    'ParserError', 'ProfilingVerbosity', 'Runtime', 'Severity', 'TensorFormat', 'TensorIOMode',
    'TensorLocation')
_OF_THE_SYSTEM = re.compile(r'lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+)\.so|ld-linux')
_DUMP = """
import functools, json, re, sys
import tensorrt_bindings as trt


def parameters(text):
    found = []
    for line in (text or '').splitlines():
        call = re.match(r'(?:\\d+\\. )?\\w+\\((.*)\\) -> ', line)
        if call:
            found += re.findall(r'(?:^|, )(\\w+): ', call[1])
    return sorted(set(found) - {'self'})


def members(thing):
    return {name: parameters(getattr(thing, name).__doc__) if callable(getattr(thing, name))
            else None for name in sorted(dir(thing)) if not name.startswith('_')}


table = {}
for name in json.loads(sys.argv[1]):
    if hasattr(trt, name.split('.')[0]):
        thing = functools.reduce(getattr, name.split('.'), trt)
        table[name] = {**members(thing), '__init__': parameters(thing.__init__.__doc__)}
json.dump({'version': trt.__version__, 'classes': table,
           'module': sorted(name for name in dir(trt) if not name.startswith('_'))}, sys.stdout)
"""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[1])
    parser.add_argument('wheels', type=Path, nargs='+', metavar='WHEEL')
    parser.add_argument('-o', '--output', type=Path, default=OUTPUT, metavar='FOLDER')
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for wheel in options.wheels:
        table = read_names(wheel)
        path = options.output / f'{table["version"]}.json'
        path.write_text(as_text(table), encoding='utf-8')
        print(f'{wheel.name} -> {path}')
    return 0


def read_names(wheel: Path) -> dict[str, object]:
    """
    Import the bindings of a wheel against empty libraries and return their names.

    :param wheel: the file.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        module = next(folder.glob('tensorrt_bindings/tensorrt*.so'))
        stubs = folder / 'stubs'
        stubs.mkdir()
        make_stubs(module, stubs)
        answer = subprocess.run(
            [sys.executable, '-c', _DUMP, json.dumps(CLASSES)], check=True, text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': name, 'LD_LIBRARY_PATH': str(stubs)})
        table: dict[str, object] = json.loads(answer.stdout)
        return table


def make_stubs(module: Path, folder: Path) -> None:
    """
    Compile what the loader asks for: each library by its name, the first with all the symbols.

    :param module: the shared object of the bindings.
    :param folder: where to put the libraries.
    """
    wanted = [library for library in _output('readelf', '-d', module, pattern=r'NEEDED.*\[(.+)\]')
              if not _OF_THE_SYSTEM.match(library)]
    # Those of the system carry a version (name@GLIBC_2.2); Python itself brings its own.
    missing = [symbol for symbol in _output('nm', '-D', '--undefined-only', module,
                                            pattern=r' U (\w+)$')
               if not symbol.startswith(('Py', '_Py'))]
    for index, library in enumerate(wanted):
        source = '\n'.join(f'void {symbol}(void) {{}}' for symbol in missing) if not index else ''
        subprocess.run(['cc', '-shared', '-fPIC', '-w', '-nostdlib', f'-Wl,-soname,{library}',
                        '-x', 'c', '-', '-o', str(folder / library)],
                       input=source, text=True, check=True)


def _output(*command: str | Path, pattern: str) -> list[str]:
    text = subprocess.run([str(part) for part in command], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return re.findall(pattern, text, re.MULTILINE)


def as_text(table: dict[str, object]) -> str:
    """
    Return JSON with one class per line, for small differences between versions.

    :param table: from :func:`read_names`.
    """
    classes = table['classes']
    assert isinstance(classes, dict)
    rows = ',\n'.join(f'  {json.dumps(name)}: {json.dumps(members, sort_keys=True)}'
                      for name, members in sorted(classes.items()))
    return (f'{{"version": {json.dumps(table["version"])},\n "module": '
            f'{json.dumps(table["module"])},\n "classes": {{\n{rows}}}}}\n')


if __name__ == '__main__':
    sys.exit(main())
