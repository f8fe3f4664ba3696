"""
The policy contract: the facts of training that travel with the network.

The exporter writes it and the robot reads it, through the same classes. Numbers are never
edited by hand. Nothing that a person chooses for one robot stands here (see ``config/``).
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from sim2real_policy.errors import closest, ContractError, MissingDependencyError
import yaml

try:
    from pydantic import (
        AfterValidator,
        BaseModel,
        ConfigDict,
        Field,
        model_validator,
        ValidationError,
    )
except ImportError as error:
    raise MissingDependencyError(
        'pydantic 2', 'to read contract.yaml', "pip install 'pydantic>=2'") from error

SCHEMA_VERSION = 1
CONTRACT_FILE = 'contract.yaml'

JOINT_FUNCTIONS = ('joint_pos_rel', 'joint_pos', 'joint_vel_rel', 'joint_vel', 'joint_effort')
BASE_FUNCTIONS = ('base_ang_vel', 'base_lin_vel', 'projected_gravity')
VELOCITY_COMMAND = ('lin_vel_x', 'lin_vel_y', 'ang_vel_z')
XYZ = 3
UNLIMITED = (-math.inf, math.inf)
FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127

Item = TypeVar('Item')


def _increasing(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not low <= high:
        raise ValueError(f'bounds {list(bounds)} must be [low, high] with low <= high')
    return bounds


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f'names must be unique, but {repeated} stand there more than once')
    return names


# Beyond float32 a scale is infinite, and a raw action of zero times it is NaN.
Real = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0)]
Bound = Annotated[float, Field(strict=True)]
Bounds = Annotated[tuple[Bound, Bound], AfterValidator(_increasing)]
Name = Annotated[str, Field(strict=True, min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_unique)]
PerJoint = tuple[Real, ...]


class _Section(BaseModel):
    """A part of the contract: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    @model_validator(mode='before')
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'{closest(str(key), cls.model_fields)}; "
                                     f'known: {sorted(cls.model_fields)}')
        return values


class RecurrentState(_Section):
    """A tensor that the network returns and wants back at the next step; starts at zero."""

    input: Name
    output: Name
    shape: Annotated[tuple[Annotated[int, Field(strict=True, gt=0)], ...], Field(min_length=1)]


class Network(_Section):
    """The ONNX file and the names of its tensors."""

    onnx: Name
    sha256: Annotated[str, Field(pattern=r'^[0-9a-f]{64}$')]
    input: Name = 'observations'
    output: Name = 'actions'
    recurrent: tuple[RecurrentState, ...] = ()


class Joints(_Section):
    """
    The robot's joints in the policy's order; every list has one entry per name.

    Positions in rad, velocities in rad/s, efforts in N m, stiffness in N m/rad, damping in
    N m s/rad. ``null`` means: not known from training.
    """

    names: Names
    default_position: PerJoint
    default_velocity: PerJoint
    stiffness: Union[PerJoint, None] = None
    damping: Union[PerJoint, None] = None
    effort_limit: Union[PerJoint, None] = None
    velocity_limit: Union[PerJoint, None] = None
    position_limit: Union[tuple[Bounds, ...], None] = None

    @model_validator(mode='after')
    def _check_lengths(self) -> Joints:
        for field in type(self).model_fields:
            _check_length(field, getattr(self, field), len(self.names), 'joint')
        return self


class Modifier(_Section):
    """A stateless modifier of Isaac Lab, applied before clip and scale."""

    kind: Literal['scale', 'bias', 'clip']
    value: Union[Real, Bounds]

    @model_validator(mode='after')
    def _check_value(self) -> Modifier:
        if isinstance(self.value, tuple) != (self.kind == 'clip'):
            raise ValueError(f"modifier '{self.kind}' has the value {self.value}; 'clip' takes "
                             '[low, high], the others take one number')
        return self


class ObservationTerm(_Section):
    """
    One observation term.

    ``history_length`` 0 and 1 both mean: the newest frame alone. Units are those of the
    function: rad, rad/s, m/s, N m; projected gravity is a unit vector.
    """

    name: Name
    function: Literal['base_ang_vel', 'base_lin_vel', 'projected_gravity', 'joint_pos_rel',
                      'joint_pos', 'joint_vel_rel', 'joint_vel', 'joint_effort', 'last_action',
                      'generated_commands']
    joints: Union[Names, None] = None
    action_term: Union[Name, None] = None
    modifiers: tuple[Modifier, ...] = ()
    clip: Union[Bounds, None] = None
    scale: Union[Real, tuple[Real, ...], None] = None
    history_length: Annotated[int, Field(strict=True, ge=0)] = 0

    @model_validator(mode='after')
    def _check_fields(self) -> ObservationTerm:
        if (self.joints is not None) != (self.function in JOINT_FUNCTIONS):
            raise ValueError(f"term '{self.name}': 'joints' belongs to joint terms, and to all "
                             f'of them; the function is {self.function}')
        if self.action_term is not None and self.function != 'last_action':
            raise ValueError(f"term '{self.name}': 'action_term' belongs to last_action alone")
        return self


class Observation(_Section):
    """
    The observation terms, in order.

    Each term's history is flattened by itself, oldest frame first (``term_major``), and the
    first frame after a reset fills all its slots (``first_frame``), as in Isaac Lab.
    """

    terms: Annotated[tuple[ObservationTerm, ...], Field(min_length=1)]
    history_layout: Literal['term_major'] = 'term_major'
    history_start: Literal['first_frame'] = 'first_frame'


class ActionTerm(_Section):
    """target [rad] = clip(raw * scale + offset), one entry per joint in raw action order."""

    name: Name
    kind: Literal['joint_position'] = 'joint_position'
    joints: Names
    scale: PerJoint
    offset: PerJoint
    clip: Union[tuple[Bounds, ...], None] = None

    @model_validator(mode='after')
    def _check_lengths(self) -> ActionTerm:
        for field in ('scale', 'offset', 'clip'):
            _check_length(f"action term '{self.name}': {field}", getattr(self, field),
                          len(self.joints), 'joint')
        return self


class Actions(_Section):
    """The action terms, in the order of the raw vector; ``raw_clip`` comes before all else."""

    raw_clip: Union[Bounds, None] = None
    terms: Annotated[tuple[ActionTerm, ...], Field(min_length=1)]


class VelocityRanges(_Section):
    """Commands seen in training: linear in m/s, angular in rad/s, in the base frame."""

    lin_vel_x: Bounds
    lin_vel_y: Bounds
    ang_vel_z: Bounds


class Command(_Section):
    """The command that the policy follows: (vx, vy, wz) in the base frame."""

    name: Name
    kind: Literal['velocity'] = 'velocity'
    ranges: Union[VelocityRanges, None] = None


class Conventions(_Section):
    """Conventions of the training framework; ours are ROS's (xyzw, REP-103), always."""

    quaternion_order: Literal['wxyz', 'xyzw']
    base_lin_vel_point: Literal['center_of_mass', 'link_origin']


class PolicyContract(_Section):
    """Everything that the network expects of the robot around it."""

    schema_version: Annotated[int, Field(strict=True)]
    name: Name
    control_period: Positive
    network: Network
    joints: Joints
    observation: Observation
    actions: Actions
    command: Union[Command, None] = None
    conventions: Conventions
    provenance: dict[str, Union[str, int, float]] = {}

    @model_validator(mode='after')
    def _check_references(self) -> PolicyContract:
        _check_unique('observation term', [term.name for term in self.observation.terms])
        _check_unique('action term', [term.name for term in self.actions.terms])
        _check_unique('joint in the action terms', self.action_joints)
        for where, names in [(f"observation term '{term.name}'", term.joints or ())
                             for term in self.observation.terms] + [
                                 (f"action term '{term.name}'", term.joints)
                                 for term in self.actions.terms]:
            for joint in names:
                if joint not in self.joints.names:
                    raise ValueError(f"{where} names the joint '{joint}', which is not in "
                                     f'joints.names{closest(joint, self.joints.names)}')
        for term in self.observation.terms:
            self._check_term(term)
        return self

    def _check_term(self, term: ObservationTerm) -> None:
        action_terms = [action.name for action in self.actions.terms]
        if term.action_term is not None and term.action_term not in action_terms:
            raise ValueError(f"observation term '{term.name}' wants the last action of "
                             f"'{term.action_term}'; the action terms are {action_terms}")
        if term.function == 'generated_commands' and self.command is None:
            raise ValueError(f"observation term '{term.name}' needs a command, but 'command' "
                             'is missing')
        width = self.frame_width(term)
        if isinstance(term.scale, tuple) and len(term.scale) != width:
            raise ValueError(f"observation term '{term.name}' has {len(term.scale)} scales for "
                             f'{width} values')

    @property
    def action_joints(self) -> tuple[str, ...]:
        """Names of the commanded joints in the order of the raw action."""
        return tuple(joint for term in self.actions.terms for joint in term.joints)

    @property
    def action_width(self) -> int:
        """Width of the network's output."""
        return len(self.action_joints)

    @property
    def observation_width(self) -> int:
        """Width of the network's input, history included."""
        return sum(self.frame_width(term) * max(1, term.history_length)
                   for term in self.observation.terms)

    def frame_width(self, term: ObservationTerm) -> int:
        """
        Return the width of one frame of a term.

        :param term: one of ``observation.terms``.
        """
        if term.joints is not None:
            return len(term.joints)
        if term.function == 'last_action':
            return sum(len(action.joints) for action in self.actions.terms
                       if term.action_term in (None, action.name))
        return XYZ if term.function in BASE_FUNCTIONS else len(VELOCITY_COMMAND)

    def uses(self, *functions: str) -> bool:
        """
        Tell whether any of the observation functions is used.

        :param functions: names such as ``'joint_effort'``.
        """
        return any(term.function in functions for term in self.observation.terms)


def _check_length(what: str, values: Sequence[Any] | None, length: int, per: str) -> None:
    if values is not None and len(values) != length:
        raise ValueError(f'{what} has {len(values)} entries, expected {length}, one per {per}')


def _check_unique(what: str, names: Sequence[str]) -> None:
    for name in names:
        if list(names).count(name) > 1:
            raise ValueError(f"{what} '{name}' stands there more than once")


def parse_contract(data: Any, source: str) -> PolicyContract:
    """
    Build a contract from plain data.

    :param data: what a YAML file holds.
    :param source: name of the file, for the message.
    :raises ContractError: with the place of the first mistake and what was expected.
    """
    if not isinstance(data, dict):
        raise ContractError(f'{source} holds {type(data).__name__}, expected a mapping; '
                            'write it with tools/export_onnx.py')
    version = data.get('schema_version')
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ContractError(
            f'{source} has schema version {version}, this package reads up to {SCHEMA_VERSION}; '
            'update sim2real_policy on this machine, or export the bundle with this version')
    if version != SCHEMA_VERSION:
        raise ContractError(f'{source} has schema_version {version!r}, expected '
                            f'{SCHEMA_VERSION}; write it with tools/export_onnx.py')
    try:
        return PolicyContract.model_validate(data)
    except ValidationError as error:
        raise ContractError(f'{source}: {_first_mistake(error)}') from None


def _first_mistake(error: ValidationError) -> str:
    mistake = error.errors()[0]
    place = '.'.join(str(part) for part in mistake['loc'])
    text = mistake['msg'].removeprefix('Value error, ')
    seen = mistake.get('input')
    shown = '' if isinstance(seen, dict) or mistake['type'] in ('value_error', 'missing') \
        else f' (seen: {seen!r:.80})'
    more = error.error_count() - 1
    return (f'{place}: ' if place else '') + text + shown + (f'; and {more} more' if more else '')


def load_contract(path: Path) -> PolicyContract:
    """
    Read and check ``contract.yaml``.

    :param path: the file.
    :raises ContractError: if it cannot be read or is not a contract of this schema.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f'cannot read {path}: {error}') from None
    except yaml.YAMLError as error:
        raise ContractError(f'{path} is not YAML: {error}') from None
    return parse_contract(data, str(path))


def save_contract(contract: PolicyContract, path: Path) -> None:
    """
    Write a contract with every digit of its numbers.

    :param contract: what to write.
    :param path: the file; it is replaced.
    """
    plain = contract.model_dump(mode='python')
    path.write_text(yaml.safe_dump(_plain(plain), sort_keys=False, default_flow_style=None,
                                   width=math.inf), encoding='utf-8')


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
