"""
Resolves the regular expressions of a configuration against joint names, as training did.

The framework matches whole names; a name that two expressions match is an error, and so is an
expression that matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import re
from typing import Any

from sim2real_policy.errors import ImportRunError


def matched_names(patterns: Sequence[str], names: Sequence[str], where: str,
                  preserve_order: bool = False) -> tuple[str, ...]:
    """
    Return the names that the expressions select.

    :param patterns: regular expressions.
    :param names: all joint names, in the robot's order.
    :param where: place of the patterns, for the message.
    :param preserve_order: order of the expressions instead of the robot's order.
    :raises ImportRunError: if a name matches twice or an expression never.
    """
    pattern_of = _pattern_of_each(patterns, names, where)
    chosen = [name for name in names if name in pattern_of]
    if preserve_order:  # sort is stable: within one expression the robot's order stays
        chosen.sort(key=lambda name: list(patterns).index(pattern_of[name]))
    return tuple(chosen)


def matched_values(by_pattern: Mapping[str, Any], names: Sequence[str],
                   where: str) -> dict[str, Any]:
    """
    Return name -> value for the names that the mapping's expressions match.

    :param by_pattern: regular expression -> value.
    :param names: the joints that may match, in the robot's order.
    :param where: place of the mapping, for the message.
    :raises ImportRunError: if a name matches twice or an expression never.
    """
    pattern_of = _pattern_of_each(list(by_pattern), names, where)
    return {name: by_pattern[pattern] for name, pattern in pattern_of.items()}


def first_prefix_values(by_pattern: Mapping[str, Any], names: Sequence[str],
                        where: str) -> dict[str, Any]:
    """
    Return name -> value as mjlab resolves an initial state.

    There the first expression that matches the beginning of a name wins, and an expression may
    match nothing.

    :param by_pattern: regular expression -> value.
    :param names: joint names.
    :param where: place of the mapping, for the message.
    :raises ImportRunError: if an expression is not one.
    """
    compiled = [(_compiled(pattern, where), value) for pattern, value in by_pattern.items()]
    values: dict[str, Any] = {}
    for name in names:
        for pattern, value in compiled:
            if pattern.match(name):
                values[name] = value
                break
    return values


def _pattern_of_each(patterns: Sequence[str], names: Sequence[str],
                     where: str) -> dict[str, str]:
    pattern_of: dict[str, str] = {}
    compiled = [(pattern, _compiled(pattern, where)) for pattern in patterns]
    for name in names:
        hits = [pattern for pattern, expression in compiled if expression.fullmatch(name)]
        if len(hits) > 1:
            raise ImportRunError(f"{where}: the joint '{name}' matches both '{hits[0]}' and "
                                 f"'{hits[1]}', expected one; training refuses this too, so "
                                 'the joint names do not belong to this run. Check them')
        if hits:
            pattern_of[name] = hits[0]
    for pattern in patterns:
        if pattern not in pattern_of.values():
            raise ImportRunError(f"{where}: '{pattern}' matches none of the joints "
                                 f'{list(names)}, expected at least one. Check that the joint '
                                 'names belong to this run')
    return pattern_of


def _compiled(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ImportRunError(f"{where}: '{pattern}' is not a regular expression: {error}. "
                             'Copy the file of the run again') from None
