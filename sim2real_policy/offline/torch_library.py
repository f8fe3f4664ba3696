"""Imports PyTorch, and what its exporter wants, where they are needed."""

from __future__ import annotations

from typing import Any

from sim2real_policy.errors import MissingDependencyError


def import_torch() -> Any:
    """
    Return the module ``torch``.

    :raises MissingDependencyError: if PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            'torch', 'to read a checkpoint and export it (never on the robot)',
            'pip install torch') from error
    return torch


def import_torch_with_onnx() -> Any:
    """
    Return the module ``torch``, able to export.

    :raises MissingDependencyError: if PyTorch or onnx is not installed.
    """
    try:
        import onnx  # noqa: F401  torch.onnx.export imports it and fails late without it
    except ImportError as error:
        raise MissingDependencyError('onnx', "for PyTorch's exporter (never on the robot)",
                                     'pip install onnx') from error
    return import_torch()
