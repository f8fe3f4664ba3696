"""The physics fits the publishing rate, and the shuffled joint order is fixed by its seed."""

from __future__ import annotations

import pytest
from sim2real_policy.errors import ConfigError

pytest.importorskip('rclpy')

from sim2real_policy.simulation.sim_parameters import physics_steps, shuffled

NAMES = ('a', 'b', 'c', 'd')


@pytest.mark.parametrize(('rate', 'period_us', 'steps'), [
    (200.0, 5000, 1), (100.0, 10000, 2), (50.0, 20000, 4), (500.0, 2000, 1), (1000.0, 1000, 1),
    (160.0, 6250, 2)])
def test_the_physics_takes_the_fewest_steps_of_at_most_5_ms(
        rate: float, period_us: int, steps: int) -> None:
    assert physics_steps(rate) == (period_us, steps)


@pytest.mark.parametrize('rate', [150.0, 300.0, 333.0])
def test_rates_whose_period_is_no_whole_microsecond_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match='not a whole number of microseconds; use a rate'):
        physics_steps(rate)


def test_the_shuffled_order_is_another_one_and_always_the_same() -> None:
    order = shuffled(NAMES, seed=1)
    assert order != NAMES
    assert sorted(order) == sorted(NAMES)
    assert shuffled(NAMES, seed=1) == order
    assert len({shuffled(NAMES, seed) for seed in range(20)}) > 5


def test_two_joints_are_swapped_whatever_the_seed() -> None:
    assert {shuffled(('a', 'b'), seed) for seed in range(10)} == {('b', 'a')}
