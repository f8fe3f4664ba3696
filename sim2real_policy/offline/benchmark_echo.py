"""
What everybody writes first: a node on rclpy's SingleThreadedExecutor with typed messages.

``echo JOINT_STATES COMMANDS [IMU]`` answers each JointState with its positions; ``sink
COMMANDS`` takes Float64MultiArray messages and does nothing with them. It ends at SIGINT.
"""

from __future__ import annotations

from collections.abc import Sequence
import signal
import sys
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.offline.benchmark_robot import QOS
from std_msgs.msg import Float64MultiArray


def _add_echo(node: Any, joint_states: str, commands: str, imu: str = '') -> None:
    publisher = node.create_publisher(Float64MultiArray, commands, QOS)

    def answer(message: JointState) -> None:
        publisher.publish(Float64MultiArray(data=list(message.position)))
    node.create_subscription(JointState, joint_states, answer, QOS)
    if imu:
        node.create_subscription(Imu, imu, lambda message: None, QOS)


def main(arguments: Sequence[str]) -> int:
    """
    Run until SIGINT.

    :param arguments: what to be, and the names of the topics.
    :returns: the exit code.
    """
    kind, *topics = arguments
    # rclpy's own handler ends the context, which ends spin; Python's would raise an exception
    # just where a message is taken, inside C code that does not survive it.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    rclpy.init()
    node = rclpy.create_node(f'benchmark_{kind}')
    if kind == 'echo':
        _add_echo(node, *topics)
    else:
        node.create_subscription(Float64MultiArray, topics[0], lambda raw: None, QOS, raw=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except ExternalShutdownException:
        pass
    except RuntimeError:  # what a call in progress meets when the context ends
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
