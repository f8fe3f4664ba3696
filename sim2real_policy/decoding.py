"""
Serialized sensor messages -> robot state.

Samples are taken from the middleware as bytes and decoded when the policy needs one, so that
the nine of ten that nobody reads cost nothing. The layout of a message (where its arrays begin)
is learned from a full deserialization, verified against it, and used for as long as every byte
that decides the layout stays the same; otherwise the message is deserialized in full again.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
import struct
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.contract import PolicyContract
from sim2real_policy.errors import JointError
from sim2real_policy.faults import Fault
from sim2real_policy.joints import joint_indices
from sim2real_policy.rotations import gravity_in_base, rotation_matrix
from sim2real_policy.state import JOINT_FIELDS, Reception, RobotState, VelocityCommand

_HEADER_SIZE = 4  # CDR encapsulation
_LITTLE_ENDIAN_CDR = b'\x00\x01'
_STAMP = struct.Struct('<iI')
_STAMP_END = _HEADER_SIZE + _STAMP.size
_COUNT = struct.Struct('<I')
_DOUBLE = 8
_ORIENTATION = struct.Struct('<5d')  # x, y, z, w and the first covariance
_VECTOR = struct.Struct('<3d')
_COVARIANCE = 9 * _DOUBLE
_ALL_BITS = 0xFF
_NORM_TOLERANCE = 0.1
_NANOSECONDS = 10**9


def _aligned(offset: int, size: int) -> int:
    """Return the next offset that is a multiple of size, counted behind the encapsulation."""
    return offset + -(offset - _HEADER_SIZE) % size


def _after_string(offset: int, text: str) -> int:
    return _aligned(offset, _COUNT.size) + _COUNT.size + len(text.encode()) + 1


def _stamp_ns(raw: bytes) -> int:
    seconds, nanoseconds = _STAMP.unpack_from(raw, _HEADER_SIZE)
    return int(seconds * _NANOSECONDS + nanoseconds)


def _is_old(stamp_ns: int, reception: Reception) -> bool:
    """Tell whether a stamp does not go forward; a stamp of zero says nothing."""
    return stamp_ns != 0 and stamp_ns <= reception.stamp_ns


class _JointLayout:
    """
    Where the arrays of a JointState stand, and the bytes that this rests on.

    ``gather`` picks the used values, field by field in the policy's order, from the doubles
    that begin at ``start``: arrays of doubles lie whole doubles apart.
    """

    def __init__(self, raw: bytes, message: JointState, fields: Sequence[int],
                 indices: NDArray[np.intp]) -> None:
        arrays = [getattr(message, field) for field in JOINT_FIELDS]
        decisive = np.zeros(len(raw), dtype=np.uint8)  # bytes that say where something stands
        offset = _STAMP_END
        for text in (message.header.frame_id, None, *message.name):
            begin = _aligned(offset, _COUNT.size)
            offset = begin + _COUNT.size if text is None else _after_string(offset, text)
            decisive[begin:offset] = _ALL_BITS
        begin, starts, self._fixed = _STAMP_END, [], []
        for values in arrays:
            count = _aligned(offset, _COUNT.size)
            decisive[count:count + _COUNT.size] = _ALL_BITS
            offset = count + _COUNT.size
            if len(values):
                offset = _aligned(offset, _DOUBLE)
            self._fixed.append((begin, raw[begin:offset]))
            starts.append(offset)
            begin = offset = offset + len(values) * _DOUBLE
        self._mask = decisive
        self._masked = np.frombuffer(raw, np.uint8) & decisive
        self.start = starts[0]
        self.count = (starts[fields[-1]] - self.start) // _DOUBLE + len(message.name)
        self.gather = np.concatenate(
            [(starts[field] - self.start) // _DOUBLE + indices for field in fields])
        self.valid = raw.startswith(_LITTLE_ENDIAN_CDR) and all(
            raw[start:start + len(values) * _DOUBLE] == np.asarray(values, '<f8').tobytes()
            and (start - self.start) % _DOUBLE == 0
            for start, values in zip(starts, arrays, strict=True) if len(values))

    def fits(self, raw: bytes) -> bool:
        """Tell whether a message has this layout."""
        if len(raw) != len(self._mask) or not raw.startswith(_LITTLE_ENDIAN_CDR):
            return False
        (a, names), (b, velocities), (c, efforts) = self._fixed
        return (raw.startswith(names, a) and raw.startswith(velocities, b)
                and raw.startswith(efforts, c)) or self._fits_but_for_padding(raw)

    def _fits_but_for_padding(self, raw: bytes) -> bool:
        """Compare without the bytes between the values: serializers leave rubbish there."""
        return np.array_equal(np.frombuffer(raw, np.uint8) & self._mask, self._masked)


class JointStateDecoder:
    """sensor_msgs/JointState -> joint position, velocity and effort, matched by name."""

    def __init__(self, contract: PolicyContract) -> None:
        """
        Note what the policy reads.

        :param contract: its joints, in the order of the state.
        """
        self._joints = contract.joints.names
        uses = (True, contract.uses('joint_vel', 'joint_vel_rel'), contract.uses('joint_effort'))
        self._fields = [field for field, used in enumerate(uses) if used]
        self._rows = slice(len(self._fields)) \
            if self._fields == list(range(len(self._fields))) else self._fields
        self._values = np.zeros(len(self._fields) * len(self._joints))
        self._table = self._values.reshape(len(self._fields), len(self._joints))
        self._layout: _JointLayout | None = None
        self._names: tuple[str, ...] = ()
        self._indices = np.zeros(0, dtype=np.intp)
        self.out_of_order = 0
        self.typed = 0

    def decode(self, raw: bytes, received_at: float, state: RobotState) -> None:
        """
        Take a message into the state, or note there why it was refused.

        :param raw: the serialized message.
        :param received_at: steady-clock time of its arrival [s].
        :param state: written whole or not at all.
        """
        layout = self._layout
        if layout is None or not layout.fits(raw):
            self._decode_typed(raw, received_at, state)
            return
        np.frombuffer(raw, '<f8', layout.count, layout.start).take(
            layout.gather, out=self._values, mode='clip')
        self._accept(state, received_at, _stamp_ns(raw))

    def _decode_typed(self, raw: bytes, received_at: float, state: RobotState) -> None:
        self.typed += 1
        self._layout = None
        try:
            message = deserialize_message(raw, JointState)
        except Exception as error:  # noqa: BLE001  rclpy raises its C library's errors
            state.joints.reject(Fault('F118', f'joint_states cannot be decoded: {error}'))
            return
        fault = self._match(message.name) or self._check_lengths(message)
        if fault is not None:
            state.joints.reject(fault)
            return
        layout = _JointLayout(raw, message, self._fields, self._indices)
        self._layout = layout if layout.valid else None
        for row, field in zip(self._table, self._fields, strict=True):
            row[:] = np.asarray(getattr(message, JOINT_FIELDS[field]))[self._indices]
        stamp = message.header.stamp
        self._accept(state, received_at, stamp.sec * _NANOSECONDS + stamp.nanosec)

    def _match(self, names: Sequence[str]) -> Fault | None:
        if tuple(names) == self._names:
            return None
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            return Fault('F113', f'joint_states names {twice} more than once; expected each '
                                 'joint once. Check the driver')
        try:
            self._indices = joint_indices(names, self._joints, 'joint_states')
        except JointError as error:
            return Fault('F111', str(error))
        self._names = tuple(names)
        return None

    def _check_lengths(self, message: JointState) -> Fault | None:
        for index, field in enumerate(JOINT_FIELDS):
            length, expected = len(getattr(message, field)), len(message.name)
            if index in self._fields and length != expected:
                return Fault('F115', f'the {field} array of joint_states has {length} values for '
                                     f'{expected} names, and the policy uses joint {field}. '
                                     'Make the driver publish it')
            if length not in (0, expected):
                return Fault('F115', f'the {field} array of joint_states has {length} values, '
                                     f'expected {expected} or none. Check the driver')
        return None

    def _accept(self, state: RobotState, received_at: float, stamp_ns: int) -> None:
        if _is_old(stamp_ns, state.joints):
            self.out_of_order += 1
            return
        values = self._values
        if not math.isfinite(values.dot(values)) and not np.isfinite(values).all():
            state.joints.reject(self._name_bad_value())
            return
        state.joint_values[self._rows] = self._table
        state.joints.accept(received_at, stamp_ns)

    def _name_bad_value(self) -> Fault:
        row, joint = np.argwhere(~np.isfinite(self._table))[0]
        return Fault('F114', f'{JOINT_FIELDS[self._fields[row]]} of joint {self._joints[joint]} '
                             f'is {self._table[row, joint]}; expected a finite number. '
                             'Check the driver')


class ImuDecoder:
    """sensor_msgs/Imu -> gravity and angular velocity in the base frame."""

    def __init__(self, imu_in_base_xyzw: Sequence[float]) -> None:
        """
        Note how the IMU is mounted.

        :param imu_in_base_xyzw: orientation of the IMU frame in the base frame.
        """
        matrix = rotation_matrix(*imu_in_base_xyzw)
        self._mount = None if np.array_equal(matrix, np.eye(3)) else matrix
        self._offset = 0
        self._prefix = b''
        self._size = 0
        self.out_of_order = 0
        self.typed = 0

    def decode(self, raw: bytes, received_at: float, state: RobotState) -> None:
        """
        Take a message into the state, or note there why it was refused.

        :param raw: the serialized message.
        :param received_at: steady-clock time of its arrival [s].
        :param state: written whole or not at all.
        """
        if self._size == len(raw) and raw.startswith(_LITTLE_ENDIAN_CDR) \
                and raw.startswith(self._prefix, _STAMP_END):
            x, y, z, w, covariance = _ORIENTATION.unpack_from(raw, self._offset)
            rates = _VECTOR.unpack_from(raw, self._offset + 4 * _DOUBLE + _COVARIANCE)
            self._take(state, received_at, _stamp_ns(raw), (x, y, z, w), covariance, rates)
            return
        self._decode_typed(raw, received_at, state)

    def _decode_typed(self, raw: bytes, received_at: float, state: RobotState) -> None:
        self.typed += 1
        try:
            message = deserialize_message(raw, Imu)
        except Exception as error:  # noqa: BLE001  rclpy raises its C library's errors
            state.imu.reject(Fault('F118', f'imu cannot be decoded: {error}'))
            return
        q, rates = message.orientation, message.angular_velocity
        covariance = float(message.orientation_covariance[0])
        values = (q.x, q.y, q.z, q.w)
        frame_end = _after_string(_STAMP_END, message.header.frame_id)
        offset = _aligned(frame_end, _DOUBLE)
        known = struct.pack('<8d', *values, covariance, rates.x, rates.y, rates.z)
        gyro = offset + 4 * _DOUBLE + _COVARIANCE
        if known == raw[offset:offset + 5 * _DOUBLE] + raw[gyro:gyro + 3 * _DOUBLE]:
            self._offset, self._prefix, self._size = offset, raw[_STAMP_END:frame_end], len(raw)
        stamp = message.header.stamp
        self._take(state, received_at, stamp.sec * _NANOSECONDS + stamp.nanosec, values,
                   covariance, (rates.x, rates.y, rates.z))

    def _take(self, state: RobotState, received_at: float, stamp_ns: int,
              xyzw: tuple[float, float, float, float], covariance: float,
              rates: tuple[float, float, float]) -> None:
        if _is_old(stamp_ns, state.imu):
            self.out_of_order += 1
            return
        fault = _check_imu(xyzw, covariance, rates)
        if fault is not None:
            state.imu.reject(fault)
            return
        gravity, angular_velocity = state.gravity, state.angular_velocity
        gravity[0], gravity[1], gravity[2] = gravity_in_base(*xyzw)
        angular_velocity[0], angular_velocity[1], angular_velocity[2] = rates
        if self._mount is not None:
            state.gravity[:] = self._mount @ state.gravity
            state.angular_velocity[:] = self._mount @ state.angular_velocity
        state.imu.accept(received_at, stamp_ns)


def _check_imu(xyzw: tuple[float, float, float, float], covariance: float,
               rates: tuple[float, float, float]) -> Fault | None:
    if covariance == -1.0:
        return Fault('F117', 'the IMU message says that it has no orientation '
                             '(orientation_covariance[0] is -1), and the policy needs gravity. '
                             'Use a topic with orientation, such as imu/data, not imu/data_raw')
    if not math.isfinite(sum(rates)) and not all(map(math.isfinite, rates)):
        return Fault('F114', f'angular velocity of the IMU is {rates}; expected finite numbers')
    norm = math.hypot(*xyzw)
    if not abs(norm - 1.0) <= _NORM_TOLERANCE:
        code = 'F116' if math.isfinite(norm) else 'F114'
        return Fault(code, f'the IMU orientation {xyzw} has the norm {norm:.3g}, expected 1. '
                           'Check that the driver gives an orientation')
    return None


def decode_odometry(raw: bytes, received_at: float, state: RobotState) -> None:
    """
    Take the twist of a nav_msgs/Odometry (base frame) into the state, or note why not.

    :param raw: the serialized message.
    :param received_at: steady-clock time of its arrival [s].
    :param state: written whole or not at all.
    """
    try:
        message = deserialize_message(raw, Odometry)
    except Exception as error:  # noqa: BLE001  rclpy raises its C library's errors
        state.odometry.reject(Fault('F118', f'odometry cannot be decoded: {error}'))
        return
    stamp_ns = message.header.stamp.sec * _NANOSECONDS + message.header.stamp.nanosec
    linear = message.twist.twist.linear
    values = (linear.x, linear.y, linear.z)
    if _is_old(stamp_ns, state.odometry):
        return
    if not all(map(math.isfinite, values)):
        state.odometry.reject(Fault('F114', f'linear velocity of odometry is {values}; '
                                            'expected finite numbers'))
        return
    state.linear_velocity[:] = values
    state.odometry.accept(received_at, stamp_ns)


def velocity_command(message: Any, received_at: float) -> VelocityCommand | None:
    """
    Convert a geometry_msgs/Twist or TwistStamped; None where it is not finite.

    :param message: the message.
    :param received_at: steady-clock time of its arrival [s].
    """
    twist: Twist = message.twist if isinstance(message, TwistStamped) else message
    values = (twist.linear.x, twist.linear.y, twist.angular.z)
    if not all(map(math.isfinite, values)):
        return None
    return VelocityCommand(*values, received_at)
