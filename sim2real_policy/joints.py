"""Joint order: resolved by name, once, strictly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.errors import closest, JointError


def joint_indices(source: Sequence[str], target: Sequence[str], what: str) -> NDArray[np.intp]:
    """
    Return for each target joint its place in the source.

    :param source: joint names in the order of a message; it may hold more than the target.
    :param target: joint names in the wanted order.
    :param what: where the source comes from, for the message.
    :raises JointError: if a name is missing, or stands in the source twice.
    """
    repeated = sorted({name for name in source if list(source).count(name) > 1})
    if repeated:
        raise JointError(f'{what} names {repeated} more than once; expected each joint once. '
                         'Check the driver for two sources of the same joint')
    place = {name: index for index, name in enumerate(source)}
    missing = [name for name in target if name not in place]
    if missing:
        raise JointError(f'{what} lacks the joint{"s" if len(missing) > 1 else ""} {missing}'
                         f'{closest(missing[0], source)}; present: {list(source)}. '
                         'Joints are matched by name: rename them in the driver or URDF')
    return np.array([place[name] for name in target], dtype=np.intp)


def exact_joint_indices(source: Sequence[str], target: Sequence[str], what: str) \
        -> NDArray[np.intp]:
    """
    Return the same as :func:`joint_indices` where both hold exactly the same joints.

    :param source: joint names in the order of the values.
    :param target: joint names in the wanted order.
    :param what: where the target comes from, for the message.
    :raises JointError: if a joint is missing, repeated, or not in the source.
    """
    unknown = [name for name in target if name not in source]
    if unknown:
        raise JointError(f'{what} names {unknown}{closest(unknown[0], source)}, which the policy '
                         f'does not command; it commands {list(source)}')
    joint_indices(target, source, what)
    return joint_indices(source, target, what)
