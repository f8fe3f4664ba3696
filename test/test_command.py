"""Rule: an old, absent or impossible command is zero; a good one stays inside training's range."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from sim2real_policy.command import VelocityFilter
from sim2real_policy.contract import Command, parse_contract, VelocityRanges
from sim2real_policy.state import NO_COMMAND, VelocityCommand

RANGES = VelocityRanges(lin_vel_x=(-1.0, 2.0), lin_vel_y=(-0.5, 0.5), ang_vel_z=(-1.0, 1.0))
RANGED = Command(name='base_velocity', ranges=RANGES)


def followed(velocity: VelocityFilter, command: VelocityCommand, now: float = 10.0,
             listen: bool = True) -> list[float]:
    """Give what the policy follows as plain numbers."""
    return [float(value) for value in velocity.apply(command, now, listen)]


def test_good_command_is_followed_as_float32_in_one_buffer() -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    assert followed(velocity, VelocityCommand(1.5, -0.25, 0.5, 10.0)) == [1.5, -0.25, 0.5]
    assert velocity.apply(NO_COMMAND, 10.0, True) is velocity.value
    assert velocity.value.dtype == np.float32


@pytest.mark.parametrize(('age', 'fresh'), [(0.0, True), (0.5, True), (0.5001, False)])
def test_command_is_followed_up_to_its_timeout(age: float, fresh: bool) -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    command = VelocityCommand(1.0, 0.0, 0.0, received_at=10.0)
    assert followed(velocity, command, now=10.0 + age) == [1.0 if fresh else 0.0, 0.0, 0.0]
    assert velocity.timed_out is not fresh


def test_same_command_becomes_zero_when_it_grows_old_and_comes_back_with_a_new_one() -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    command = VelocityCommand(1.0, 0.5, -1.0, 10.0)
    assert followed(velocity, command, now=10.2) == [1.0, 0.5, -1.0]
    assert followed(velocity, command, now=10.6) == [0.0, 0.0, 0.0]
    assert followed(velocity, VelocityCommand(1.0, 0.5, -1.0, 10.6), now=10.6) == [1.0, 0.5, -1.0]


def test_command_never_received_is_zero_and_timed_out() -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    assert velocity.timed_out
    assert followed(velocity, NO_COMMAND) == [0.0, 0.0, 0.0]
    assert velocity.timed_out


def test_in_ramp_nobody_listens_but_the_age_is_watched() -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    command = VelocityCommand(1.0, 0.0, 0.0, 10.0)
    assert followed(velocity, command, listen=False) == [0.0, 0.0, 0.0]
    assert not velocity.timed_out
    assert followed(velocity, command, listen=True) == [1.0, 0.0, 0.0]
    assert followed(velocity, command, listen=False) == [0.0, 0.0, 0.0]


def test_command_outside_training_is_clipped_and_counted_once() -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    wild = VelocityCommand(3.0, -9.0, 1.0, 10.0)
    for _ in range(3):
        assert followed(velocity, wild) == [2.0, -0.5, 1.0]
    assert velocity.clipped == 1
    followed(velocity, VelocityCommand(2.0, 0.5, -1.0, 10.0))
    assert velocity.clipped == 1
    followed(velocity, VelocityCommand(0.0, 0.0, -1.5, 10.0))
    assert velocity.clipped == 2


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize('place', [0, 1, 2])
def test_command_with_one_value_that_is_no_number_is_zero_as_a_whole(
        bad: float, place: int) -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    followed(velocity, VelocityCommand(1.0, 0.5, 1.0, 10.0))
    values = [1.0, 0.5, 1.0]
    values[place] = bad
    x, y, z = values
    assert followed(velocity, VelocityCommand(x, y, z, 10.0)) == [0.0, 0.0, 0.0]
    assert velocity.clipped == 0


def test_zero_is_zero_even_where_training_never_saw_it() -> None:
    """A robot trained to walk forward alone must still stand when nobody steers it."""
    forward = RANGES.model_copy(update={'lin_vel_x': (0.5, 1.0)})
    velocity = VelocityFilter(Command(name='it', ranges=forward), timeout=0.5)
    walk = VelocityCommand(0.75, 0.0, 0.0, 10.0)
    assert followed(velocity, walk) == [0.75, 0.0, 0.0]
    assert followed(velocity, walk, now=11.0) == [0.0, 0.0, 0.0]
    assert followed(velocity, VelocityCommand(math.nan, 0.0, 0.0, 10.0)) == [0.0, 0.0, 0.0]
    assert followed(velocity, walk, listen=False) == [0.0, 0.0, 0.0]
    assert velocity.clipped == 0


@pytest.mark.parametrize('command', [None, Command(name='base_velocity')])
def test_without_ranges_nothing_is_clipped(command: Command | None) -> None:
    velocity = VelocityFilter(command, timeout=0.5)
    assert followed(velocity, VelocityCommand(100.0, -50.0, 7.0, 10.0)) == [100.0, -50.0, 7.0]
    assert velocity.clipped == 0


@given(st.lists(st.tuples(*[st.floats()] * 3, st.floats(), st.booleans()), max_size=6))
def test_whatever_comes_stays_finite_and_in_range(
        commands: list[tuple[float, float, float, float, bool]]) -> None:
    velocity = VelocityFilter(RANGED, timeout=0.5)
    for x, y, z, received_at, listen in commands:
        value = velocity.apply(VelocityCommand(x, y, z, received_at), 10.0, listen)
        assert np.isfinite(value).all()
        for one, (low, high) in zip(value, RANGES.model_dump().values(), strict=True):
            assert low <= one <= high


def test_ranges_are_those_of_the_contract(contract_data: dict[str, Any]) -> None:
    velocity = VelocityFilter(parse_contract(contract_data, 'it').command, timeout=0.5)
    assert followed(velocity, VelocityCommand(9.0, 9.0, -9.0, 10.0)) == [2.0, 0.5, -1.0]
