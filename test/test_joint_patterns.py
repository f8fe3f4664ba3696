"""Expressions choose joints as in training: whole names, each once, every expression used."""

import pytest
from sim2real_policy.errors import ImportRunError
from sim2real_policy.offline.joint_patterns import (
    first_prefix_values,
    matched_names,
    matched_values,
)

JOINTS = ('l_hip', 'r_hip', 'torso', 'l_knee', 'r_knee')


def test_the_order_is_the_robots_unless_asked_otherwise() -> None:
    patterns = ['.*_knee', 'torso', 'l_hip']
    assert matched_names(patterns, JOINTS, 'x') == ('l_hip', 'torso', 'l_knee', 'r_knee')
    assert matched_names(patterns, JOINTS, 'x', preserve_order=True) == (
        'l_knee', 'r_knee', 'torso', 'l_hip')


def test_whole_names_match() -> None:
    with pytest.raises(ImportRunError, match="'l' matches none of the joints"):
        matched_names(['l'], JOINTS, 'x')
    with pytest.raises(ImportRunError, match="'hip' matches none"):
        matched_names(['hip'], JOINTS, 'x')


def test_a_joint_that_matches_twice_is_refused() -> None:
    with pytest.raises(ImportRunError, match=r"'l_hip' matches both '\.\*_hip' and 'l_\.\*'"):
        matched_values({'.*_hip': 1.0, 'l_.*': 2.0}, JOINTS, 'x')


def test_values_go_by_name() -> None:
    assert matched_values({'.*_knee': 2.0, 'torso': 3.0}, JOINTS, 'x') == {
        'torso': 3.0, 'l_knee': 2.0, 'r_knee': 2.0}


def test_mjlab_takes_the_first_match_of_a_beginning() -> None:
    values = first_prefix_values({'l_': 1.0, '.*_hip': 2.0, 'absent': 3.0}, JOINTS, 'x')
    assert values == {'l_hip': 1.0, 'r_hip': 2.0, 'l_knee': 1.0}


def test_broken_expressions_are_refused() -> None:
    with pytest.raises(ImportRunError, match=r"'\(' is not a regular expression"):
        matched_names(['('], JOINTS, 'x')
