"""Rule: what is known of the robot is in one buffer, with how and when it was received."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
import math

import numpy as np
import pytest
from sim2real_policy.faults import Fault
from sim2real_policy.state import (
    JOINT_FIELDS,
    NEVER,
    NO_COMMAND,
    Reception,
    RobotState,
    StateLayout,
    VelocityCommand,
)

FIELDS = ('gravity', 'angular_velocity', 'linear_velocity', 'joint_position', 'joint_velocity',
          'joint_effort')


def test_reception_starts_as_never_received() -> None:
    reception = Reception()
    assert (reception.received_at, reception.stamp_ns) == (-math.inf, 0)
    assert (reception.rejected, reception.reason) == (0, None)


def test_refused_samples_are_counted_and_never_look_fresh() -> None:
    reception = Reception()
    reception.accept(1.5, 42)
    reception.reject(Fault('F114', 'first'))
    reception.reject(Fault('F115', 'second'))
    assert (reception.received_at, reception.stamp_ns) == (1.5, 42)
    assert (reception.rejected, reception.reason) == (2, Fault('F115', 'second'))


def test_good_sample_ends_a_row_of_refused_ones() -> None:
    reception = Reception()
    reception.reject(Fault('F114', 'bad'))
    reception.accept(2.0, 7)
    assert (reception.rejected, reception.reason) == (0, None)
    reception.forget()
    assert (reception.received_at, reception.stamp_ns) == (NEVER, 0)


def test_all_quantities_are_views_of_one_buffer_without_overlap() -> None:
    state = RobotState(2)
    for number, name in enumerate(FIELDS, start=1):
        getattr(state, name)[:] = number
    assert state.values.tolist() == [1.0] * 3 + [2.0] * 3 + [3.0] * 3 + [4.0] * 2 + [5.0] * 2 \
        + [6.0] * 2
    assert state.values.dtype == np.float64


def test_layout_tells_where_each_quantity_stands() -> None:
    state, layout = RobotState(4), StateLayout(4)
    state.values[:] = np.arange(layout.size)
    assert layout.size == 3 + 3 + 3 + 3 * 4
    for name in FIELDS:
        assert np.array_equal(state.values[getattr(layout, name)], getattr(state, name))


def test_joint_fields_are_the_rows_of_the_joint_values() -> None:
    state = RobotState(2)
    state.joint_values[:] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    for row, field in zip(state.joint_values, JOINT_FIELDS, strict=True):
        assert getattr(state, f'joint_{field}').tolist() == row.tolist()


def test_forgetting_a_state_forgets_every_input_but_keeps_the_buffer(state: RobotState) -> None:
    state.forget()
    assert [input_.received_at for input_ in (state.joints, state.imu, state.odometry)] \
        == [NEVER] * 3
    assert state.joint_position.tolist() == [0.25, 0.5, -0.25]


def test_no_command_is_standing_still_and_never_received() -> None:
    assert VelocityCommand(0.0, 0.0, 0.0, NEVER) == NO_COMMAND
    with pytest.raises(FrozenInstanceError):
        NO_COMMAND.linear_x = 1.0  # type: ignore[misc]
