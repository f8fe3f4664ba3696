"""From the raw action to joint targets, as in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.contract import PolicyContract, UNLIMITED

Array = NDArray[np.float32]


class ActionProcessor:
    """
    target = clip(raw_clip(raw) * scale + offset), in float32 and in this order.

    ``last`` is what training calls the last action: raw, after the raw clip, shape
    (action width,); zeros after a reset. ``target`` [rad] has the same shape and order.
    """

    def __init__(self, contract: PolicyContract) -> None:
        """
        Allocate the buffers.

        :param contract: whose action terms to follow.
        """
        terms = contract.actions.terms
        self._raw_clip = contract.actions.raw_clip
        self._scale: Array = np.concatenate([term.scale for term in terms], dtype=np.float32)
        self._offset: Array = np.concatenate([term.offset for term in terms], dtype=np.float32)
        self._clip: Array = np.concatenate(
            [term.clip or [UNLIMITED] * len(term.joints) for term in terms],
            dtype=np.float32).T.copy()
        self._has_clip = any(term.clip is not None for term in terms)
        self.last: Array = np.zeros(contract.action_width, dtype=np.float32)
        self.target: Array = self._offset.copy()

    def reset(self) -> None:
        """Forget the last action."""
        self.last.fill(0.0)

    def process(self, raw: Array) -> Array:
        """
        Remember a raw action and return its joint targets [rad], shape (action width,).

        :param raw: the network's output, finite, shape (action width,).
        """
        if self._raw_clip is None:
            self.last[:] = raw
        else:
            np.clip(raw, *self._raw_clip, out=self.last)
        np.multiply(self.last, self._scale, out=self.target)
        self.target += self._offset
        if self._has_clip:
            np.maximum(self.target, self._clip[0], out=self.target)
            np.minimum(self.target, self._clip[1], out=self.target)
        return self.target
