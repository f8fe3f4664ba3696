"""The ROS parameters of the simulated robot."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from sim2real_policy.errors import ConfigError
from sim2real_policy.simulation.command_decoder import (
    check_interface,
    DEFAULT_TOPICS,
    FLOAT64_MULTI_ARRAY,
)
from sim2real_policy.simulation.robot_model import find_start_pose, MAX_TIMESTEP, START_POSES
from sim2real_policy.simulation.sensor_model import SensorSettings

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class SimParameters:
    """
    What the user chose.

    ``period_us`` is the simulated time between two publications [us], in which the physics
    makes ``steps`` steps of ``timestep`` [s]; ``speed`` is in multiples of real time.
    """

    period_us: int
    steps: int
    speed: float
    publish_clock: bool
    shuffle_joints: bool
    command_interface: str
    command_topic: str
    sensors: SensorSettings
    seed: int
    start_pose: str

    @property
    def timestep(self) -> float:
        """Timestep of the physics [s]."""
        return self.period_us / MICROSECONDS / self.steps


def physics_steps(publish_rate: float) -> tuple[int, int]:
    """
    Return the publishing period [us] and the physics steps in it.

    The physics takes the fewest equal steps that are no longer than the 0.005 s of training.

    :param publish_rate: [Hz].
    :raises ConfigError: if the period is not a whole number of microseconds.
    """
    period = MICROSECONDS / publish_rate
    period_us = round(period)
    if abs(period - period_us) > 1e-6:
        raise ConfigError(
            f'publish_rate is {publish_rate:g} Hz, a period of {period:.3f} us, which is not a '
            'whole number of microseconds; use a rate that divides 1000000, such as 100, 200, '
            '250, 400, 500 or 1000')
    return period_us, math.ceil(period_us / (MAX_TIMESTEP * MICROSECONDS) - 1e-9)


def shuffled(names: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """
    Return the names in a fixed other order.

    :param names: at least two.
    :param seed: the same seed gives the same order.
    """
    random = np.random.default_rng([seed, 2])
    order = names
    while order == names:
        order = tuple(names[index] for index in random.permutation(len(names)))
    return order


def declare_parameters(node: Node) -> SimParameters:
    """
    Declare all parameters and read them.

    :param node: gets the parameters.
    :raises ConfigError: if a value is of the wrong type, out of range or unknown.
    """
    try:
        return _declare(node)
    except InvalidParameterTypeException as error:
        raise ConfigError(f"{error}; a floating point number needs its point ('200.0', not "
                          "'200')") from error
    except InvalidParameterValueException as error:
        raise ConfigError(f'{error}; choose a value within the range') from error


def _declare(node: Node) -> SimParameters:
    publish_rate = _number(node, 'publish_rate', 200.0, 10.0, 1000.0,
                           'Rate of joint_states, imu/data and odom [Hz of simulated time]; its '
                           'period must be a whole number of microseconds.')
    period_us, steps = physics_steps(publish_rate)
    interface = check_interface(_text(
        node, 'command_interface', FLOAT64_MULTI_ARRAY,
        f'Type of the joint commands, one of {list(DEFAULT_TOPICS)}.'))
    topic = _text(node, 'command_topic', '',
                  'Topic of the joint commands; empty for the default of the interface: '
                  f'{DEFAULT_TOPICS}.')
    start_pose = _text(node, 'start_pose', 'stand',
                       f'Where the robot starts and is put back to, one of {list(START_POSES)}; '
                       'it holds this pose until the first command.')
    find_start_pose(start_pose)
    return SimParameters(
        period_us=period_us, steps=steps,
        speed=_number(node, 'speed', 1.0, 0.01, 100.0,
                      'Speed of the simulation [multiples of real time].'),
        publish_clock=_switch(node, 'publish_clock', False,
                              'Publish /clock and stamp everything with simulated time, instead '
                              'of the time of the system.'),
        shuffle_joints=_switch(node, 'shuffle_joints', True,
                               'Speak of the joints in a fixed shuffled order (see joint_names), '
                               'as a real robot may, instead of leg by leg.'),
        command_interface=interface, command_topic=topic or DEFAULT_TOPICS[interface],
        sensors=_declare_sensors(node), start_pose=start_pose,
        seed=_whole(node, 'seed', 1, 0, 2 ** 31 - 1,
                    'Seed of the noise, the losses and the shuffled joint order.'))


def _declare_sensors(node: Node) -> SensorSettings:
    return SensorSettings(
        joint_position=_number(node, 'joint_position_noise', 0.0, 0.0, 1.0,
                               'Standard deviation of the joint positions [rad].'),
        joint_velocity=_number(node, 'joint_velocity_noise', 0.0, 0.0, 100.0,
                               'Standard deviation of the joint velocities [rad/s].'),
        angular_velocity=_number(node, 'gyro_noise', 0.0, 0.0, 100.0,
                                 'Standard deviation of the angular velocity [rad/s].'),
        orientation=_number(node, 'orientation_noise', 0.0, 0.0, 1.0,
                            'Standard deviation of the orientation about each axis [rad].'),
        delay=_number(node, 'sensor_delay', 0.0, 0.0, 1.0,
                      'Time between measuring and publishing joint_states and imu/data '
                      '[s], rounded to whole publishing periods; stamps are those of measuring.'),
        loss=_number(node, 'sensor_loss', 0.0, 0.0, 1.0,
                     'Probability that a message of joint_states or imu/data is lost [0..1].'))


def declare_joint_names(node: Node, order: tuple[str, ...]) -> None:
    """
    Tell the order of the joints in use.

    :param node: gets the parameter ``joint_names``.
    :param order: the joints in that order.
    :raises ConfigError: if the user tried to set it.
    """
    descriptor = ParameterDescriptor(read_only=True, description=(
        'The order of the joints in joint_states and in a Float64MultiArray command; told by the '
        'node, not to be set.'))
    try:
        told = node.declare_parameter('joint_names', list(order), descriptor).value
    except InvalidParameterTypeException:
        told = None
    if told != list(order):
        raise ConfigError('joint_names is told by the simulated robot and cannot be set; use '
                          'shuffle_joints and seed to get another order')


def _number(node: Node, name: str, default: float, low: float, high: float,
            description: str) -> float:
    return float(_declare_one(node, name, default, ParameterDescriptor(
        description=description, read_only=True,
        floating_point_range=[FloatingPointRange(from_value=low, to_value=high)])))


def _whole(node: Node, name: str, default: int, low: int, high: int, description: str) -> int:
    return int(_declare_one(node, name, default, ParameterDescriptor(
        description=description, read_only=True,
        integer_range=[IntegerRange(from_value=low, to_value=high, step=1)])))


def _text(node: Node, name: str, default: str, description: str) -> str:
    return str(_declare_one(node, name, default, ParameterDescriptor(
        description=description, read_only=True)))


def _switch(node: Node, name: str, default: bool, description: str) -> bool:
    return bool(_declare_one(node, name, default, ParameterDescriptor(
        description=description, read_only=True)))


def _declare_one(node: Node, name: str, default: Any, descriptor: ParameterDescriptor) -> Any:
    return node.declare_parameter(name, default, descriptor).value
