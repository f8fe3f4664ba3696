"""The faults that stop a policy: one stable code each."""

from __future__ import annotations

from dataclasses import dataclass

FAULT_TITLES = {
    'F101': 'joint states are stale',
    'F102': 'IMU is stale',
    'F103': 'odometry is stale',
    'F111': 'a joint of the policy is missing in joint_states',
    'F113': 'a joint stands twice in joint_states',
    'F114': 'a measured value is not finite',
    'F115': 'an array of joint_states has the wrong length',
    'F116': 'the IMU orientation is not a rotation',
    'F117': 'the IMU gives no orientation',
    'F118': 'a message cannot be decoded',
    'F208': 'the control thread does not finish its tick',
    'F209': 'the policy output is not finite',
    'F301': 'a joint is measured outside its position limits',
    'F303': 'the base is tilted too far',
    'F309': 'internal error',
    'F401': 'emergency stop was requested',
}


@dataclass(frozen=True)
class Fault:
    """
    Why the policy may not act.

    ``code`` is one of :data:`FAULT_TITLES`; ``message`` names the value, the limit and the fix.
    """

    code: str
    message: str

    def __post_init__(self) -> None:
        """Refuse a code that is not in the table."""
        if self.code not in FAULT_TITLES:
            raise ValueError(f'unknown fault code {self.code}')

    def __str__(self) -> str:
        """Return code and message in one line."""
        return f'{self.code} {self.message}'
