"""
The node's parameters: what a person chooses for one robot.

Every one is declared with description, unit and range; unknown names are refused, an integer
where a real number is expected is taken as one, and arrays are checked entry by entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sim2real_policy.board_monitor import BOARD_MONITORS
from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import closest, ConfigError
from sim2real_policy.inference import BACKENDS, GPU_WAITS
from sim2real_policy.joints import exact_joint_indices
from sim2real_policy.limits import JointLimits
from sim2real_policy.messages import COMMAND_INTERFACES
from sim2real_policy.monitors import MonitorSettings
from sim2real_policy.pipeline import PipelineSettings

TRIGGERS = ('timer', 'joint_states')
MIN_TIMEOUT_PERIODS = 3
MAX_AUTOMATIC_TIMEOUT = 0.2  # s; a legged robot falls in about this time
QUATERNION_SIZE = 4
NORM_TOLERANCE = 1e-3
_FOREIGN = ('use_sim_time', 'start_type_description_service')
_LIMIT_ARRAYS = ('limits.position_lower', 'limits.position_upper', 'limits.max_step')


@dataclass(frozen=True)
class _Spec:
    """One parameter: default, description with unit, and what its values may be."""

    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


SPECS: dict[str, _Spec] = {
    'policy': _Spec('', 'Folder of the policy bundle (policy.onnx, contract.yaml, golden.npz).'),
    'backend': _Spec('auto', 'What runs the network; auto: a TensorRT engine of the bundle where '
                     'one fits, else ONNX Runtime.', choices=BACKENDS),
    'backend_fallback': _Spec(False, 'With backend tensorrt: where the engine cannot be used, '
                              'take ONNX Runtime if it is fast enough, and warn.'),
    'engine': _Spec('', "Name of the engine in the bundle's folder engines; empty: the newest one "
                    'that fits this machine.'),
    'gpu_wait': _Spec('spin', 'How a tick waits for the GPU: without a pause, letting other '
                      'threads in between, or asleep.', choices=GPU_WAITS),
    'trigger': _Spec('timer', 'What starts a tick: the control period of the contract, or every '
                     'n-th joint_states message.', choices=TRIGGERS),
    'trigger_every': _Spec(1, 'With trigger joint_states: a tick at every n-th message.', 1, 1000),
    'command_interface': _Spec('float64_multi_array', 'Message that the controller takes.',
                               choices=COMMAND_INTERFACES),
    'command_joint_names': _Spec([''], 'Joints in the order of the command message; required for '
                                 'float64_multi_array, where it is the only order there is.'),
    'topics.joint_states': _Spec('joint_states', 'sensor_msgs/JointState input.'),
    'topics.imu': _Spec('imu/data', 'sensor_msgs/Imu input with orientation.'),
    'topics.odometry': _Spec('odom', 'nav_msgs/Odometry input; read only where the policy uses '
                             'base_lin_vel.'),
    'topics.cmd_vel': _Spec('cmd_vel', 'Velocity command input.'),
    'topics.command': _Spec('~/commands', 'Joint command output.'),
    'cmd_vel_stamped': _Spec(False, 'Take geometry_msgs/TwistStamped instead of Twist.'),
    'cmd_vel_timeout': _Spec(0.5, 'Age of the velocity command above which it is zero [s].',
                             0.02, 10.0),
    'joint_timeout': _Spec(0.0, 'Age of the joint states above which the robot is stopped [s]; 0: '
                           '3 control periods, at most 0.2 s.', 0.0, 2.0),
    'imu_timeout': _Spec(0.0, 'The same for the IMU [s].', 0.0, 2.0),
    'odometry_timeout': _Spec(0.0, 'The same for odometry [s].', 0.0, 2.0),
    'watchdog_timeout': _Spec(0.0, 'Time without a finished tick after which the main thread '
                              'stops the robot [s]; 0: 5 control periods, at least 0.1 s.',
                              0.0, 2.0),
    'max_rejected': _Spec(2, 'Refused samples in a row that an input survives.', 0, 100),
    'max_tilt': _Spec(math.radians(60.0), 'Angle between the z axis of the base and the vertical '
                      'above which the robot is stopped [rad].', 0.05, math.pi),
    'ramp_duration': _Spec(2.0, 'Time from the measured pose to the targets of the policy [s].',
                           0.1, 60.0),
    'imu_orientation_in_base': _Spec([0.0, 0.0, 0.0, 1.0], 'Orientation of the IMU frame in the '
                                     'base frame: quaternion x, y, z, w.'),
    'limits.joint_names': _Spec([''], 'Joints of the limits below; needed where they have more '
                                'than one entry.'),
    'limits.position_lower': _Spec([math.nan], 'Lowest joint target [rad], one for all or one per '
                                   'joint; empty: from the contract.'),
    'limits.position_upper': _Spec([math.nan], 'Highest joint target [rad], likewise.'),
    'limits.max_step': _Spec([0.5], 'Largest change of a joint target per control period [rad], '
                             'one for all or one per joint.'),
    'limits.tolerance': _Spec(0.1, 'How far outside the position limits a joint may be measured '
                              '[rad].', 0.0, 1.0),
    'stop_duration': _Spec(0.2, 'How long the safe command is repeated when the node stops [s].',
                           0.05, 10.0),
    'rehearsal': _Spec(True, 'With trigger timer: do the work of each tick once on copies, one '
                       'millisecond early, so that the tick itself is fast.'),
    'realtime_priority': _Spec(0, 'SCHED_FIFO priority of main and control thread; 0: leave '
                               'it.', 0, 98),
    'board_monitor': _Spec('auto', 'What tells load, heat and power of a Jetson on /diagnostics; '
                           'auto: tegrastats, else jtop where its service runs, else nothing.',
                           choices=BOARD_MONITORS),
}


@dataclass(frozen=True)
class NodeParameters:
    """The values of :data:`SPECS`; a dot in a name is an underscore here."""

    policy: str
    backend: str
    backend_fallback: bool
    engine: str
    gpu_wait: str
    trigger: str
    trigger_every: int
    command_interface: str
    command_joint_names: tuple[str, ...]
    topics_joint_states: str
    topics_imu: str
    topics_odometry: str
    topics_cmd_vel: str
    topics_command: str
    cmd_vel_stamped: bool
    cmd_vel_timeout: float
    joint_timeout: float
    imu_timeout: float
    odometry_timeout: float
    watchdog_timeout: float
    max_rejected: int
    max_tilt: float
    ramp_duration: float
    imu_orientation_in_base: tuple[float, ...]
    limits_joint_names: tuple[str, ...]
    limits_position_lower: tuple[float, ...]
    limits_position_upper: tuple[float, ...]
    limits_max_step: tuple[float, ...]
    limits_tolerance: float
    stop_duration: float
    rehearsal: bool
    realtime_priority: int
    board_monitor: str


def declare_parameters(node: Node) -> None:
    """
    Declare all parameters, with the values given at start where there are any.

    :param node: made with ``automatically_declare_parameters_from_overrides``.
    :raises ConfigError: if a given parameter is unknown, or its value is wrong.
    """
    given = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix('')}
    for name in given:
        if name not in SPECS and name not in _FOREIGN:
            raise ConfigError(f"unknown parameter '{name}'{closest(name, SPECS)}; "
                              'ros2 param list shows the known ones')
    for name, spec in SPECS.items():
        value = spec.default
        if name in given:
            value = checked(name, given[name])
            node.undeclare_parameter(name)
        node.declare_parameter(name, value, _descriptor(name, spec), ignore_override=True)


def _descriptor(name: str, spec: _Spec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=name, description=spec.description)
    if spec.choices:
        descriptor.additional_constraints = 'one of ' + ', '.join(spec.choices)
    if spec.low is not None and spec.high is not None:
        if isinstance(spec.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(spec.low),
                                                     to_value=int(spec.high), step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=spec.low, to_value=spec.high, step=0.0)]
    return descriptor


def checked(name: str, value: Any) -> Any:
    """
    Return a parameter's value in its own type.

    :param name: one of :data:`SPECS`.
    :param value: as given; an integer is taken for a real number.
    :raises ConfigError: if its type or range is wrong.
    """
    spec = SPECS[name]
    default = spec.default
    if isinstance(default, list):
        items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) \
            else [value]
        return [_as_type(name, item, default[0]) for item in items]
    result = _as_type(name, value, default)
    if spec.choices and result not in spec.choices:
        raise ConfigError(f"parameter '{name}' is '{result}'{closest(result, spec.choices)}, "
                          f'expected one of {list(spec.choices)}')
    if spec.low is not None and spec.high is not None and not spec.low <= result <= spec.high:
        raise ConfigError(f"parameter '{name}' is {result}, expected a value in "
                          f'[{spec.low:g}, {spec.high:g}]. {spec.description}')
    return result


def _as_type(name: str, value: Any, example: Any) -> Any:
    if isinstance(example, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(example):
        raise ConfigError(f"parameter '{name}' is {value!r} of type {type(value).__name__}, "
                          f'expected {type(example).__name__}. {SPECS[name].description}')
    return value


def check_change(changes: Sequence[Parameter], locked: bool) -> str:
    """
    Return why a change of parameters is refused, or an empty string.

    :param changes: the new values.
    :param locked: True once the node is configured.
    """
    for parameter in changes:
        if parameter.name in SPECS:
            if locked:
                return (f"'{parameter.name}' takes effect at configure: ros2 lifecycle set NODE "
                        'deactivate, then cleanup, set it, then configure and activate')
            try:
                checked(parameter.name, parameter.value)
            except ConfigError as error:
                return str(error)
    return ''


def read_parameters(node: Node) -> NodeParameters:
    """
    Return all parameters as plain values.

    :param node: with its parameters declared.
    """
    values = {}
    for name, spec in SPECS.items():
        value = node.get_parameter(name).value
        if isinstance(spec.default, list):
            value = tuple(item for item in value or ()
                          if item != '' and not (isinstance(item, float) and math.isnan(item)))
        values[name.replace('.', '_')] = value
    return NodeParameters(**{field.name: values[field.name] for field in fields(NodeParameters)})


def pipeline_settings(parameters: NodeParameters, contract: PolicyContract) -> PipelineSettings:
    """
    Bring a person's choices and the contract together.

    :param parameters: the choices.
    :param contract: the policy.
    :raises ConfigError: if limits are missing or of wrong size or order, or the orientation of
        the IMU is not a rotation.
    :raises JointError: if limits name other joints than the policy's.
    """
    _check_orientation(parameters.imu_orientation_in_base)
    automatic = min(MIN_TIMEOUT_PERIODS * contract.control_period, MAX_AUTOMATIC_TIMEOUT)
    return PipelineSettings(
        monitor=MonitorSettings(
            joint_timeout=parameters.joint_timeout or automatic,
            imu_timeout=parameters.imu_timeout or automatic,
            odometry_timeout=parameters.odometry_timeout or automatic,
            max_tilt=parameters.max_tilt,
            max_rejected=parameters.max_rejected),
        limits=_joint_limits(parameters, contract),
        ramp_duration=parameters.ramp_duration,
        command_timeout=parameters.cmd_vel_timeout)


def _check_orientation(xyzw: Sequence[float]) -> None:
    if len(xyzw) != QUATERNION_SIZE or not abs(math.hypot(*xyzw) - 1.0) <= NORM_TOLERANCE:
        raise ConfigError(f'imu_orientation_in_base is {list(xyzw)}, expected a quaternion '
                          'x, y, z, w of norm 1; [0.0, 0.0, 0.0, 1.0] where the IMU is aligned '
                          'with the base')


def _joint_limits(parameters: NodeParameters, contract: PolicyContract) -> JointLimits:
    lower, upper, step = (
        _spread(name, getattr(parameters, name.replace('.', '_')), parameters, contract)
        for name in _LIMIT_ARRAYS)
    known = _training_limits(contract)
    if known is not None:
        lower = known[0] if lower is None else np.maximum(lower, known[0])
        upper = known[1] if upper is None else np.minimum(upper, known[1])
    if lower is None or upper is None or step is None:
        raise ConfigError('no position limits are known: the contract has none, and '
                          'limits.position_lower, limits.position_upper or limits.max_step is '
                          'empty. Take them from the URDF of the robot')
    if not (np.isfinite([lower, upper, step]).all() and (lower < upper).all()
            and (step > 0.0).all()):
        raise ConfigError('limits must be finite with position_lower < position_upper and '
                          f'max_step > 0; seen lower {lower.tolist()}, upper {upper.tolist()}, '
                          f'max_step {step.tolist()}')
    return JointLimits(lower, upper, step, parameters.limits_tolerance)


def _training_limits(contract: PolicyContract) -> NDArray[np.float64] | None:
    """Return the joint range known from training, shape (2, action width), or None."""
    if contract.joints.position_limit is None:
        return None
    place = {name: index for index, name in enumerate(contract.joints.names)}
    return np.array([contract.joints.position_limit[place[name]]
                     for name in contract.action_joints]).T


def _spread(name: str, values: tuple[float, ...], parameters: NodeParameters,
            contract: PolicyContract) -> NDArray[np.float64] | None:
    """Bring one limit into the order of the raw action, shape (action width,)."""
    joints = contract.action_joints
    if not values:
        return None
    if len(values) == 1:
        return np.full(len(joints), values[0])
    names = parameters.limits_joint_names
    if len(values) != len(names):
        raise ConfigError(f'{name} has {len(values)} entries and limits.joint_names has '
                          f'{len(names)}; expected one entry per name, or a single one for all')
    exact_joint_indices(joints, names, 'limits.joint_names')
    return np.array(values)[exact_joint_indices(names, joints, 'limits.joint_names')]
