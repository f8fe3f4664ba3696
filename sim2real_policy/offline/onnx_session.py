"""Opens an ONNX file on the CPU with one thread, which keeps the results repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim2real_policy.errors import ImportRunError, MissingDependencyError

_SEVERITY_ERROR = 3


def open_session(path: Path) -> Any:
    """
    Return an ``onnxruntime.InferenceSession``.

    :param path: the ONNX file.
    :raises MissingDependencyError: if onnxruntime is not installed.
    :raises ImportRunError: if the file is not a network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError('onnxruntime', 'to read ONNX files',
                                     'pip install onnxruntime') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _SEVERITY_ERROR
    try:
        return onnxruntime.InferenceSession(str(path), options,
                                            providers=['CPUExecutionProvider'])
    except Exception as error:  # noqa: BLE001  its exceptions share no narrower class
        reason = ' '.join(str(error).split())
        raise ImportRunError(f'{path} cannot be opened as an ONNX network: {reason:.200}; '
                             'expected a complete file. Copy it again, or remove it from the '
                             'run') from None
