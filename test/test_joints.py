"""Rule: joints are matched by name, once and strictly, whatever their order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sim2real_policy.errors import JointError
from sim2real_policy.joints import exact_joint_indices, joint_indices

NAMES = ('hip', 'knee', 'ankle')


@pytest.mark.parametrize('source', [*permutations(NAMES)])
def test_values_come_out_in_the_wanted_order(source: tuple[str, ...]) -> None:
    values = {'hip': 1.0, 'knee': 2.0, 'ankle': 3.0}
    message = np.array([values[name] for name in source])
    assert message[joint_indices(source, NAMES, 'it')].tolist() == [1.0, 2.0, 3.0]
    assert message[exact_joint_indices(source, NAMES, 'it')].tolist() == [1.0, 2.0, 3.0]


def test_reversed_order_by_eye() -> None:
    assert joint_indices(('ankle', 'knee', 'hip'), NAMES, 'it').tolist() == [2, 1, 0]


def test_source_may_hold_more_than_is_wanted() -> None:
    assert joint_indices(('arm', 'ankle', 'hip'), ('hip',), 'it').tolist() == [2]
    nothing = joint_indices(NAMES, (), 'it')
    assert nothing.dtype == np.intp
    assert nothing.size == 0


def test_missing_joint_is_refused_with_the_closest_name_and_what_is_there() -> None:
    with pytest.raises(JointError) as refusal:
        joint_indices(('hip_joint', 'knee'), ('hip_joimt',), 'joint_states')
    text = str(refusal.value)
    assert text.startswith("joint_states lacks the joint ['hip_joimt']")
    assert "did you mean 'hip_joint'?" in text
    assert "present: ['hip_joint', 'knee']" in text


def test_all_missing_joints_are_named() -> None:
    with pytest.raises(JointError, match=r"lacks the joints \['hip', 'ankle'\]"):
        joint_indices(('knee',), NAMES, 'joint_states')


def test_repeated_joint_is_refused_even_where_nobody_wants_it() -> None:
    with pytest.raises(JointError, match=r"names \['arm'\] more than once"):
        joint_indices(('arm', 'hip', 'arm'), ('hip',), 'joint_states')


def test_exact_match_refuses_a_joint_too_few_too_many_or_twice() -> None:
    with pytest.raises(JointError, match=r"command_joint_names lacks the joint \['ankle'\]"):
        exact_joint_indices(NAMES, ('knee', 'hip'), 'command_joint_names')
    with pytest.raises(JointError, match=r"names \['ankel'\] \(did you mean 'ankle'\?\)"):
        exact_joint_indices(NAMES, ('hip', 'knee', 'ankle', 'ankel'), 'command_joint_names')
    with pytest.raises(JointError, match=r"names \['hip'\] more than once"):
        exact_joint_indices(NAMES, ('hip', 'knee', 'ankle', 'hip'), 'command_joint_names')
