"""Makes the golden vectors: what the training network answers, and a whole chain around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sim2real_policy.bundle import Golden
from sim2real_policy.contract import PolicyContract
from sim2real_policy.offline.checkpoint import Actor
from sim2real_policy.offline.reference_chain import ReferenceChain, Sample
from sim2real_policy.offline.torch_actor import answer

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SEED = 20240229  # fixed: two exports of one run must be equal
CHAIN_STEPS = 100
ROWS = 64
SWING = 0.15  # amplitude of the joints around the default pose [rad]


def random_observations(contract: PolicyContract, rows: int, seed: int = SEED) -> F32:
    """
    Return standard normal observations, shape (rows, observation width).

    :param contract: tells the width.
    :param rows: how many.
    :param seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    return generator.standard_normal((rows, contract.observation_width)).astype(np.float32)


def realistic_observations(actor: Actor, chain: F32, rows: int, seed: int = SEED) -> F32:
    """
    Return observations like those of training, shape (rows, observation width).

    Where the network has a normaliser half of them follow its mean and deviation; the others
    are drawn from the chain.

    :param actor: the network.
    :param chain: observations of the chain, shape (steps, observation width).
    :param rows: how many.
    :param seed: of the generator.
    """
    generator = np.random.default_rng(seed + 1)
    picked = chain[generator.integers(0, len(chain), rows)]
    if actor.mean is None or actor.std is None:
        return picked
    drawn = actor.mean + actor.std * generator.standard_normal((rows, len(actor.mean)))
    return np.concatenate([drawn[:rows // 2], picked[rows // 2:]]).astype(np.float32)


def make_golden(contract: PolicyContract, actor: Actor, network: Any) -> Golden:
    """
    Ask the training network and run the chain with its own answers.

    :param contract: the facts of training.
    :param actor: weights and normaliser.
    :param network: the same as a PyTorch module.
    """
    samples = chain_samples(contract)
    reference = ReferenceChain(contract)
    observations, raw_actions, targets = [], [], []
    for sample in samples:
        observations.append(reference.observe(sample))
        raw_actions.append(answer(network, observations[-1][None])[0])
        targets.append(reference.act(raw_actions[-1]).astype(np.float64))
    chain = np.stack(observations)
    rows = np.concatenate([random_observations(contract, ROWS // 2),
                           realistic_observations(actor, chain, ROWS // 2)])

    def column(field: str) -> F64:
        return np.stack([getattr(sample, field) for sample in samples])

    return Golden(
        observations=rows, actions=answer(network, rows),
        chain_joint_position=column('joint_position'),
        chain_joint_velocity=column('joint_velocity'),
        chain_joint_effort=column('joint_effort'),
        chain_quaternion_xyzw=column('quaternion_xyzw'),
        chain_angular_velocity=column('angular_velocity'),
        chain_linear_velocity=column('linear_velocity'),
        chain_command=column('command'), chain_observation=chain,
        chain_raw_action=np.stack(raw_actions), chain_target=np.stack(targets))


def chain_samples(contract: PolicyContract) -> list[Sample]:
    """
    Return a smooth motion around the default pose, with tilt, turns and a changing command.

    Every signal differs from every other one, so that exchanged values show.

    :param contract: the facts of training.
    """
    joints = np.arange(len(contract.joints.names))
    rate, phase = 2.0 * np.pi * (0.8 + 0.07 * joints), 0.9 * joints
    position = np.array(contract.joints.default_position)
    velocity = np.array(contract.joints.default_velocity)
    samples = []
    for step in range(CHAIN_STEPS):
        t = step * contract.control_period
        angle = rate * t + phase
        samples.append(Sample(
            joint_position=position + SWING * np.sin(angle),
            joint_velocity=velocity + SWING * rate * np.cos(angle),
            joint_effort=3.0 * np.sin(0.7 * angle) + 0.2 * joints,
            quaternion_xyzw=_tilted(0.25 * np.sin(3.1 * t), 0.2 * np.cos(2.3 * t) - 0.1, 0.8 * t),
            angular_velocity=np.array([0.5 * np.cos(3.1 * t), -0.4 * np.sin(2.3 * t), 0.8]),
            linear_velocity=np.array([0.6 * np.sin(1.3 * t), 0.2 * np.cos(1.9 * t),
                                      0.05 * np.sin(4.0 * t)]),
            command=_command(contract, step)))
    return samples


def _tilted(roll: float, pitch: float, yaw: float) -> F64:
    cr, cp, cy = np.cos(roll / 2.0), np.cos(pitch / 2.0), np.cos(yaw / 2.0)
    sr, sp, sy = np.sin(roll / 2.0), np.sin(pitch / 2.0), np.sin(yaw / 2.0)
    return np.array([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
                     cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy])


def _command(contract: PolicyContract, step: int) -> F64:
    """Keep to 60 % of the trained ranges, forward first and then the other way round."""
    high, low = np.array([0.5, 0.3, 0.4]), np.array([-0.5, -0.3, -0.4])
    if contract.command is not None and contract.command.ranges is not None:
        ranges = contract.command.ranges
        limits = np.clip([ranges.lin_vel_x, ranges.lin_vel_y, ranges.ang_vel_z], -1e3, 1e3)
        low, high = 0.6 * limits[:, 0], 0.6 * limits[:, 1]
    return np.asarray(high if step < CHAIN_STEPS // 2 else low)
