"""Names and targets are read from the three command messages; nothing is guessed."""

from __future__ import annotations

import pytest
from sim2real_policy.errors import ConfigError, MessageError
from sim2real_policy.simulation.command_decoder import (
    check_interface,
    DEFAULT_TOPICS,
    message_type,
    read_command,
)

pytest.importorskip('rclpy')

ORDER = ('b', 'a')


def test_an_array_is_in_the_order_of_the_robot() -> None:
    message = message_type('float64_multi_array')(data=[1.0, 2.0])
    names, positions = read_command('float64_multi_array', message, ORDER)
    assert (list(names), list(positions)) == (['b', 'a'], [1.0, 2.0])


def test_a_joint_state_brings_its_own_names() -> None:
    message = message_type('joint_state')(name=['a', 'b'], position=[1.0, 2.0])
    names, positions = read_command('joint_state', message, ORDER)
    assert (list(names), list(positions)) == (['a', 'b'], [1.0, 2.0])


def test_a_trajectory_brings_its_own_names_and_one_point() -> None:
    from trajectory_msgs.msg import JointTrajectoryPoint
    message = message_type('joint_trajectory')(
        joint_names=['a', 'b'], points=[JointTrajectoryPoint(positions=[1.0, 2.0])])
    names, positions = read_command('joint_trajectory', message, ORDER)
    assert (list(names), list(positions)) == (['a', 'b'], [1.0, 2.0])


@pytest.mark.parametrize('count', [0, 2])
def test_a_trajectory_of_another_length_is_refused(count: int) -> None:
    from trajectory_msgs.msg import JointTrajectoryPoint
    message = message_type('joint_trajectory')(points=[JointTrajectoryPoint()] * count)
    with pytest.raises(MessageError, match=f'a trajectory of {count} points'):
        read_command('joint_trajectory', message, ORDER)


def test_default_topics_are_relative_so_that_a_namespace_works() -> None:
    assert not [topic for topic in DEFAULT_TOPICS.values() if topic.startswith('/')]


def test_an_unknown_interface_is_refused_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'joint_state'"):
        check_interface('joint_states')
