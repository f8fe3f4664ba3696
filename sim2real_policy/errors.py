"""
One class per cause of refusal.

Every message says what was seen, what was expected, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
import difflib


class PolicyError(Exception):
    """Base class of everything that this package refuses; its text is meant for the user."""


class ContractError(PolicyError):
    """Raised when ``contract.yaml`` is unreadable, of another schema, or contradicts itself."""


class BundleError(PolicyError):
    """Raised when a policy bundle lacks a file or its files do not belong together."""


class JointError(PolicyError):
    """Raised when joint names or array lengths do not match what the policy needs."""


class MessageError(PolicyError):
    """Raised when the content of a ROS message cannot be used."""


class InferenceError(PolicyError):
    """Raised when a runner cannot load the network, or the network is not the trained one."""


class EngineError(InferenceError):
    """Raised when a TensorRT engine cannot be built, is not this machine's, or is damaged."""


class ConfigError(PolicyError):
    """Raised when a parameter is unknown, of the wrong type or size, or out of range."""


class ImportRunError(PolicyError):
    """Raised when a training run cannot be turned into a bundle."""


class MissingDependencyError(PolicyError, ImportError):
    """Raised when an optional library is needed and absent; the text says how to get it."""

    def __init__(self, library: str, purpose: str, install: str) -> None:
        """
        Build the sentence.

        :param library: name of the module that could not be imported.
        :param purpose: what it is needed for.
        :param install: the command or step that installs it.
        """
        super().__init__(f'{library} is not installed; it is needed {purpose}. '
                         f'Install it with: {install}')


def closest(word: str, known: Iterable[str]) -> str:
    """
    Return a hint such as ``" (did you mean 'scale'?)"``, or an empty string.

    :param word: the name that is not known.
    :param known: the names that are.
    """
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ''
