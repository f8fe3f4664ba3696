"""What the demo asks of the robot, and how it judges the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

LINEAR_TOLERANCE = 0.15  # m/s
ANGULAR_TOLERANCE = 0.2  # rad/s
SETTLED_SHARE = 0.4  # of a phase passes before its velocity is measured


@dataclass(frozen=True)
class Phase:
    """One velocity command in the base frame, (vx [m/s], vy [m/s], wz [rad/s]), for a time [s]."""

    name: str
    command: tuple[float, float, float]
    duration: float


PHASES = (
    Phase('stand', (0.0, 0.0, 0.0), 4.0),
    Phase('forward', (0.8, 0.0, 0.0), 7.0),
    Phase('sideways', (0.0, 0.4, 0.0), 6.0),
    Phase('turn', (0.0, 0.0, 0.8), 6.0),
    Phase('stop', (0.0, 0.0, 0.0), 5.0),
)
TOTAL_DURATION = sum(phase.duration for phase in PHASES)


def phase_at(time: float) -> Phase:
    """
    Return the phase at a time since the first one began [s]; the last one after the end.

    :param time: seconds.
    """
    end = 0.0
    for phase in PHASES:
        end += phase.duration
        if time < end:
            return phase
    return PHASES[-1]


@dataclass
class DemoRecord:
    """
    What was seen while the robot walked.

    Rows of ``velocity``: (time since the first phase [s], vx, vy [m/s], wz [rad/s], tilt [deg]),
    base frame. ``run`` holds the node's own statistics by name.
    """

    velocity: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    run: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    falls: int = 0


@dataclass(frozen=True)
class PhaseResult:
    """Commanded against measured velocity of one phase; NaN where nothing was measured."""

    phase: Phase
    measured: tuple[float, float, float]

    @property
    def followed(self) -> bool:
        """Tell whether every component is inside its tolerance."""
        errors = np.abs(np.subtract(self.phase.command, self.measured))
        return bool((errors < (LINEAR_TOLERANCE, LINEAR_TOLERANCE, ANGULAR_TOLERANCE)).all())


def judge_phases(record: DemoRecord, phases: Sequence[Phase] = PHASES) -> list[PhaseResult]:
    """
    Return the mean velocity of each phase once it had settled.

    :param record: what was seen.
    :param phases: what was asked.
    """
    rows = np.array(record.velocity).reshape(-1, 5)
    results, begin = [], 0.0
    for phase in phases:
        end = begin + phase.duration
        settled = begin + SETTLED_SHARE * phase.duration
        part = rows[(rows[:, 0] >= settled) & (rows[:, 0] < end)]
        mean = part[:, 1:4].mean(axis=0) if len(part) else np.full(3, np.nan)
        results.append(PhaseResult(phase, (float(mean[0]), float(mean[1]), float(mean[2]))))
        begin = end
    return results


def complaints(record: DemoRecord, results: Sequence[PhaseResult]) -> list[str]:
    """
    Return what went wrong, in sentences; empty where the robot did what was asked.

    :param record: what was seen.
    :param results: the phases.
    """
    wrong = []
    for result in results:
        if np.isnan(result.measured).any():
            wrong.append(f"phase '{result.phase.name}' was not reached")
        elif not result.followed:
            seen = ', '.join(f'{value:.2f}' for value in result.measured)
            wrong.append(f"phase '{result.phase.name}': commanded {result.phase.command}, "
                         f'measured ({seen}); allowed are {LINEAR_TOLERANCE} m/s and '
                         f'{ANGULAR_TOLERANCE} rad/s of error')
    wrong += [f'fault: {fault}' for fault in record.faults]
    if record.falls:
        wrong.append(f'the robot fell {record.falls} times')
    return wrong
