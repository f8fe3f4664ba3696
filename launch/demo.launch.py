"""
Walk the simulated Pup through the policy node.

Starts robot, policy node and the operator that brings the node up, commands velocities and
judges what the robot did. When the operator is done, the policy node stops first, so that its
safe command still finds the robot. Exit code 1 where the demo failed.
"""

from __future__ import annotations

import signal

from launch import Action, LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    LogInfo,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited, SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from sim2real_policy.resources import config_file, PUP_BUNDLE

PACKAGE = 'sim2real_policy'


def _is_policy_node(action: Action) -> bool:
    """Tell it from the other processes; it is made in the included file."""
    return isinstance(action, LifecycleNode)


class _Course:
    """Ends the launch with whichever process ends first."""

    def __init__(self, operator: Node) -> None:
        self._operator = operator
        self._failure = ''

    def on_exit(self, event: ProcessExited, context: LaunchContext) \
            -> list[LaunchDescriptionEntity]:
        """
        Let the policy node follow the operator, and everything follow the policy node.

        :raises RuntimeError: if the demo failed; ros2 launch has no other way to end with 1.
        """
        if context.is_shutdown:  # a second Shutdown, or signal, would be an error
            return []
        if event.action is self._operator:
            self._failure = 'the reason is above' if event.returncode else ''
            return [LogInfo(msg='demo: FAIL' if self._failure else 'demo: PASS'),
                    EmitEvent(event=SignalProcess(signal_number=signal.SIGINT,
                                                  process_matcher=_is_policy_node))]
        if event.returncode:
            self._failure = f'{event.process_name} ended with exit code {event.returncode}'
        if self._failure:
            raise RuntimeError(f'demo: FAIL; {self._failure}')
        return [Shutdown(reason='the demo is over')]


def _arguments() -> list[LaunchDescriptionEntity]:
    """Return what may stand on the command line, beside the arguments of policy.launch.py."""
    return [
        DeclareLaunchArgument('policy', default_value=str(PUP_BUNDLE),
                              description='Folder of the policy bundle'),
        DeclareLaunchArgument('config', default_value=str(config_file('pup.yaml')),
                              description='Parameter file of the policy node'),
        DeclareLaunchArgument('out', default_value='out',
                              description='Folder that takes picture and bag'),
    ]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    robot = Node(package=PACKAGE, executable='sim_robot_node', name='sim_robot', output='screen')
    policy = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare(PACKAGE), 'launch', 'policy.launch.py'])),
        launch_arguments={'config': LaunchConfiguration('config'),
                          'policy': LaunchConfiguration('policy'),
                          'namespace': '', 'autostart': 'false'}.items())
    operator = Node(
        package=PACKAGE, executable='demo_driver', name='demo_driver', output='screen',
        parameters=[{'out': ParameterValue(LaunchConfiguration('out'), value_type=str)}])
    return LaunchDescription([
        *_arguments(),
        RegisterEventHandler(OnProcessExit(on_exit=_Course(operator).on_exit)),
        robot, policy, operator])
