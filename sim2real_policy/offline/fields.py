"""Typed access to the fields of a run's YAML; a wrong type is refused with its place."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.env_yaml import PythonTag


def is_unset(value: Any) -> bool:
    """
    Tell whether a field was never set: ``null``, or the dumper's ``{}`` for a missing value.

    :param value: what the YAML holds.
    """
    return value is None or value == {}


def refuse(where: str, value: Any, expected: str) -> NoReturn:
    """
    Refuse a field.

    :param where: its place, such as ``env.yaml: sim.dt``.
    :param value: what stands there.
    :param expected: what should.
    :raises ImportRunError: always.
    """
    if isinstance(value, PythonTag):
        raise ImportRunError(f"{where} holds the Python object '{value.tag}', which is not "
                             f'loaded, because loading it would run code; expected {expected}. '
                             'Use plain values in the configuration of the task')
    seen = 'nothing' if value is None else f'{value!r:.60}'
    raise ImportRunError(f'{where} holds {seen}, expected {expected}; correct the configuration '
                         'of the task and train or dump it again')


def number(value: Any, where: str) -> float:
    """
    Return a finite number; ``'1e-3'`` counts, because YAML reads it as text.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is no finite number.
    """
    result = _number(value)
    if result is None or not math.isfinite(result):
        refuse(where, value, 'a finite number')
    return result


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def count(value: Any, where: str) -> int:
    """
    Return a whole number of at least 0.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        refuse(where, value, 'a whole number of at least 0')
    return value


def flag(value: Any, where: str, default: bool) -> bool:
    """
    Return true or false.

    :param value: what the YAML holds.
    :param where: its place.
    :param default: what an unset field means.
    :raises ImportRunError: if it is anything else.
    """
    if is_unset(value):
        return default
    if not isinstance(value, bool):
        refuse(where, value, 'true or false')
    return value


def bounds(value: Any, where: str) -> tuple[float, float]:
    """
    Return (low, high); an unset or infinite end means: no bound.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is not a pair with low <= high.
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        refuse(where, value, 'a pair [low, high]')
    low = -math.inf if value[0] is None else _number(value[0])
    high = math.inf if value[1] is None else _number(value[1])
    if low is None or high is None or not low <= high:
        refuse(where, value, 'a pair [low, high] of numbers with low <= high')
    return low, high


def mapping(value: Any, where: str) -> dict[str, Any]:
    """
    Return a mapping whose keys are text; an unset field is an empty one.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        refuse(where, value, 'a mapping')
    return value


def sequence(value: Any, where: str) -> tuple[Any, ...]:
    """
    Return a list or tuple as a tuple; an unset field is an empty one.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is anything else.
    """
    if is_unset(value):
        return ()
    if not isinstance(value, (tuple, list)):
        refuse(where, value, 'a list')
    return tuple(value)


def words(value: Any, where: str) -> tuple[str, ...]:
    """
    Return a list of texts; one text alone is a list of one.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is anything else.
    """
    items = (value,) if isinstance(value, str) else sequence(value, where)
    if not all(isinstance(item, str) for item in items):
        refuse(where, value, 'a list of names')
    return items


def text(value: Any, where: str) -> str:
    """
    Return a text that is not empty.

    :param value: what the YAML holds.
    :param where: its place.
    :raises ImportRunError: if it is anything else.
    """
    if not isinstance(value, str) or not value:
        refuse(where, value, 'a name')
    return value
