"""Say in diagnostic messages how the simulated robot is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sim2real_policy.simulation.fall_detector import Posture
from sim2real_policy.simulation.robot_model import LEGS
from sim2real_policy.simulation.simulated_robot import SimulatedRobot

SLOW = 0.95


@dataclass(frozen=True)
class SimCounts:
    """
    What the node counted.

    ``real_time_factor`` is simulated time over real time since the last report,
    ``command_age`` the time since the last accepted command [s], None before the first.
    """

    speed: float
    real_time_factor: float
    skipped: int
    received: int
    rejected: int
    command_age: float | None


def status_key(robot: SimulatedRobot) -> tuple[Posture, tuple[bool, ...]]:
    """
    Return what the latched status depends on.

    :param robot: the robot.
    """
    return robot.falls.posture, tuple(robot.foot_contact)


def robot_status(robot: SimulatedRobot, name: str) -> DiagnosticStatus:
    """
    Return the status that is published when it changes.

    :param robot: the robot.
    :param name: of the node.
    """
    posture = robot.falls.posture
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if posture is Posture.FALLEN else DiagnosticStatus.OK,
        name=f'{name}: posture', message=posture.value, hardware_id='simulation',
        values=_contacts(robot))


def diagnostics(robot: SimulatedRobot, name: str, counts: SimCounts,
                stamp: Any) -> DiagnosticArray:
    """
    Return the report of one second.

    :param robot: the robot.
    :param name: of the node.
    :param counts: what the node counted.
    :param stamp: of the message.
    """
    slow = counts.real_time_factor < SLOW * counts.speed
    status = robot_status(robot, name)
    status.name = f'{name}: simulation'
    if slow and status.level == DiagnosticStatus.OK:
        status.level = DiagnosticStatus.WARN
        status.message = (f'{status.message}; runs at {counts.real_time_factor:.2f} x real time '
                          f'instead of {counts.speed:g} x')
    age = 'none yet' if counts.command_age is None else f'{counts.command_age:.3f}'
    status.values = [
        _value('real-time factor', f'{counts.real_time_factor:.3f}'),
        _value('skipped periods', counts.skipped),
        _value('falls', robot.falls.falls),
        _value('tilt [deg]', f'{robot.tilt:.1f}'),
        _value('largest tilt [deg]', f'{robot.falls.largest_tilt:.1f}'),
        *_contacts(robot),
        _value('commands received', counts.received),
        _value('commands rejected', counts.rejected),
        _value('age of last command [s]', age)]
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message


def _contacts(robot: SimulatedRobot) -> list[KeyValue]:
    return [_value(f'{leg} foot', 'on the floor' if touching else 'in the air')
            for leg, touching in zip(LEGS, robot.foot_contact, strict=True)]


def _value(key: str, value: object) -> KeyValue:
    return KeyValue(key=key, value=str(value))
