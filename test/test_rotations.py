"""Rule: quaternions are x, y, z, w; gravity is a unit vector in the base, (0, 0, -1) upright."""

from __future__ import annotations

from math import cos, pi, sin, sqrt

from hypothesis import assume, given
from hypothesis import strategies as st
import numpy as np
import pytest
from sim2real_policy.rotations import gravity_in_base, rotation_matrix, tilt_of

HALF = sqrt(0.5)
QUATERNIONS = st.tuples(*[st.floats(-100.0, 100.0)] * 4)


@pytest.mark.parametrize(('xyzw', 'down'), [
    ((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, -1.0)),    # upright
    ((0.0, 0.0, HALF, HALF), (0.0, 0.0, -1.0)),  # turned to the left: heading does not matter
    ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),     # on its back
    ((HALF, 0.0, 0.0, HALF), (0.0, -1.0, 0.0)),  # rolled 90 deg to its right side: y points up
    ((0.0, HALF, 0.0, HALF), (1.0, 0.0, 0.0))])  # pitched 90 deg nose down: x points down
def test_gravity_by_eye(xyzw: tuple[float, float, float, float],
                        down: tuple[float, float, float]) -> None:
    assert gravity_in_base(*xyzw) == pytest.approx(down, abs=1e-15)


def test_a_roll_of_30_degrees_has_gravity_half_to_the_side() -> None:
    angle = pi / 6.0
    gravity = gravity_in_base(sin(angle / 2.0), 0.0, 0.0, cos(angle / 2.0))
    assert gravity == pytest.approx((0.0, -0.5, -sqrt(0.75)))
    assert tilt_of(gravity[2]) == pytest.approx(angle)


@given(QUATERNIONS)
def test_gravity_is_the_world_s_down_turned_into_the_base(
        xyzw: tuple[float, float, float, float]) -> None:
    assume(np.linalg.norm(xyzw) > 1e-3)
    gravity = gravity_in_base(*xyzw)
    assert np.linalg.norm(gravity) == pytest.approx(1.0)
    assert gravity == pytest.approx(rotation_matrix(*xyzw).T @ [0.0, 0.0, -1.0], abs=1e-12)


@given(QUATERNIONS, st.floats(0.01, 100.0))
def test_sign_and_length_of_a_quaternion_do_not_matter(
        xyzw: tuple[float, float, float, float], length: float) -> None:
    assume(np.linalg.norm(xyzw) > 1e-3)
    x, y, z, w = xyzw
    assert gravity_in_base(-x, -y, -z, -w) == gravity_in_base(x, y, z, w)
    assert gravity_in_base(*(length * np.array(xyzw)).tolist()) == pytest.approx(
        gravity_in_base(x, y, z, w), abs=1e-9)


@pytest.mark.parametrize(('gravity_z', 'degrees'), [
    (-1.0, 0.0), (-0.5, 60.0), (0.0, 90.0), (1.0, 180.0), (-1.0000001, 0.0), (1.0000001, 180.0)])
def test_tilt_is_the_angle_to_the_vertical(gravity_z: float, degrees: float) -> None:
    assert np.degrees(tilt_of(gravity_z)) == pytest.approx(degrees)


@pytest.mark.parametrize(('xyzw', 'vector', 'turned'), [
    ((0.0, 0.0, HALF, HALF), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),   # 90 deg about z: x to y
    ((HALF, 0.0, 0.0, HALF), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),   # 90 deg about x: y to z
    ((0.0, HALF, 0.0, HALF), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))])  # 90 deg about y: z to x
def test_matrix_takes_the_child_s_axes_to_the_parent_s(
        xyzw: tuple[float, float, float, float], vector: tuple[float, float, float],
        turned: tuple[float, float, float]) -> None:
    assert rotation_matrix(*xyzw) @ vector == pytest.approx(turned, abs=1e-15)


@given(QUATERNIONS)
def test_matrix_is_a_rotation_for_any_norm(xyzw: tuple[float, float, float, float]) -> None:
    assume(np.linalg.norm(xyzw) > 1e-3)
    matrix = rotation_matrix(*xyzw)
    assert matrix @ matrix.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
