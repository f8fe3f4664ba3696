"""
A rehearsal of the tick shortly before it is due, so that the tick itself finds warm caches.

Between two ticks at 50 Hz the processor forgets the code and the weights and goes to sleep;
what takes 50 us in a tight loop takes 500 us then (docs/performance.md). The rehearsal does the
same work on copies of its own, one millisecond early. Nothing of it is ever sent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Bundle
from sim2real_policy.inbox import Inbox
from sim2real_policy.inference import PolicyRunner, RunnerFacts
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline

Array = NDArray[np.float32]


class _BorrowedRunner:
    """Buffers of its own around a runner whose weights shall be warm."""

    name = 'rehearsal'

    def __init__(self, runner: PolicyRunner, stateless: bool) -> None:
        self.facts = RunnerFacts()
        self.input: Array = np.zeros_like(runner.input)
        self.output: Array = np.zeros_like(runner.output)
        self._runner = runner
        self._stateless = stateless

    def run(self) -> None:
        """Run the network on whatever it last saw; a recurrent one must not be advanced."""
        if self._stateless:
            self._runner.run()

    def reset(self) -> None:
        """Leave the borrowed runner alone."""

    def close(self) -> None:
        """Leave the borrowed runner alone."""


class Rehearsal:
    """A second inbox and a second pipeline that are thrown the same measurements."""

    def __init__(self, bundle: Bundle, runner: PolicyRunner, settings: PipelineSettings,
                 inbox: Inbox) -> None:
        """
        Allocate the copies.

        :param bundle: the policy.
        :param runner: the one of the real tick; its buffers may be written between two ticks.
        :param settings: as for the real pipeline.
        :param inbox: where the measurements arrive.
        """
        stateless = not bundle.contract.network.recurrent
        self._inbox = inbox
        self._copy = inbox.copy()
        self._pipeline = PolicyPipeline(bundle.contract, _BorrowedRunner(runner, stateless),
                                        settings)
        self._pipeline.activate()

    def rehearse(self, now: float) -> None:
        """
        Do what a tick does, up to the command.

        :param now: steady-clock time [s].
        """
        self._copy.imitate(self._inbox)
        self._copy.collect(self._pipeline.state)
        self._pipeline.step(self._inbox.command, now)
