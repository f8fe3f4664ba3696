"""Rule: whatever is asked, a target is finite, inside its bounds and one step from the last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest
from sim2real_policy.limits import JointLimits, Limiter

F64 = NDArray[np.float64]
ULP = 1e-15  # rounding of last + max_step, for values of about 1

# Bounds with an ugly binary form, one narrower than a step, one not around zero.
LIMITS = JointLimits(lower=np.array([-0.7, 0.1, -1.0]), upper=np.array([0.3, 0.15, 1e-9]),
                     max_step=np.array([0.1, 0.2, 0.3]), tolerance=0.1)
SHARES = st.tuples(*[st.floats(0.0, 1.0)] * 3)
ASKED = st.tuples(*[st.floats(width=32, allow_nan=False)] * 3)


def advanced(limits: JointLimits, last: list[float], target: list[float]) -> list[float]:
    """Give where one step leads."""
    position = np.array(last)
    Limiter(limits).advance(position, np.array(target))
    return [float(value) for value in position]


def test_near_target_is_reached_and_a_far_one_is_one_step_nearer(limits: JointLimits) -> None:
    assert advanced(limits, [0.0, 0.0, 0.0], [0.0625, 0.5, -0.5]) == [0.0625, 0.125, -0.125]


def test_bounds_hold_on_both_sides(limits: JointLimits) -> None:
    assert advanced(limits, [0.9375, -0.9375, 1.0], [5.0, -5.0, 5.0]) == [1.0, -1.0, 1.0]


def test_step_counts_from_the_last_target_until_the_target_is_reached(
        limits: JointLimits) -> None:
    limiter, last = Limiter(limits), np.zeros(3)
    seen = []
    for _ in range(4):
        limiter.advance(last, np.full(3, 0.3125, dtype=np.float32))
        seen.append(float(last[0]))
    assert seen == [0.125, 0.25, 0.3125, 0.3125]


def test_limited_targets_are_counted_per_joint(limits: JointLimits) -> None:
    limiter, last = Limiter(limits), np.zeros(3)
    limiter.advance(last, np.array([0.125, 0.5, 0.0]))
    assert limiter.limited.tolist() == [0, 1, 0]
    limiter.advance(last, np.array([-np.inf, 0.25, 0.0]))
    assert limiter.limited.tolist() == [1, 1, 0]


def test_target_is_left_as_it_is_and_may_be_the_last_one_itself(limits: JointLimits) -> None:
    limiter, last, target = Limiter(limits), np.zeros(3), np.array([9.0, -9.0, 0.0])
    limiter.advance(last, target)
    assert target.tolist() == [9.0, -9.0, 0.0]
    limiter.advance(last, last)
    assert last.tolist() == [0.125, -0.125, 0.0]


@given(SHARES, st.lists(ASKED, min_size=1, max_size=5))
def test_any_target_leads_to_one_that_is_finite_inside_and_near(
        shares: tuple[float, float, float],
        targets: list[tuple[float, float, float]]) -> None:
    limiter = Limiter(LIMITS)
    last = LIMITS.inside(LIMITS.lower + np.array(shares) * (LIMITS.upper - LIMITS.lower))
    for asked in targets:
        before, target = last.copy(), np.array(asked, dtype=np.float32)
        limiter.advance(last, target)
        assert np.isfinite(last).all()
        assert (LIMITS.lower <= last).all()
        assert (last <= LIMITS.upper).all()
        assert (np.abs(last - before) <= LIMITS.max_step + ULP).all()
        nearest = LIMITS.inside(target.astype(np.float64))
        assert (np.abs(nearest - last) <= np.abs(nearest - before)).all()


@given(SHARES, ASKED)
def test_allowed_target_is_not_changed(shares: tuple[float, float, float],
                                       asked: tuple[float, float, float]) -> None:
    """What one step gave is allowed, so the same step again changes nothing and counts nothing."""
    last = LIMITS.inside(LIMITS.lower + np.array(shares) * (LIMITS.upper - LIMITS.lower))
    reached: F64 = last.copy()
    Limiter(LIMITS).advance(reached, np.array(asked))
    limiter = Limiter(LIMITS)
    limiter.advance(last, reached)
    assert last.tolist() == reached.tolist()
    assert limiter.limited.tolist() == [0, 0, 0]


@pytest.mark.parametrize(('position', 'nearest'), [
    ([0.5, -0.5, 0.0], [0.5, -0.5, 0.0]), ([2.0, -2.0, 1.0], [1.0, -1.0, 1.0])])
def test_inside_gives_the_nearest_position(limits: JointLimits, position: list[float],
                                           nearest: list[float]) -> None:
    assert limits.inside(np.array(position)).tolist() == nearest
