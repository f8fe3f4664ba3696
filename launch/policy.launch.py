"""
Start the policy node of a robot.

``ros2 launch sim2real_policy policy.launch.py config:=my_robot.yaml policy:=my_bundle`` starts it
unconfigured; ``ros2 lifecycle set /policy_node configure`` and then ``activate`` let it move the
robot. An argument that is left empty leaves the choice to the parameter file.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

# Longer than the node takes to hold the robot with the largest stop_duration (10 s): the second
# signal ends it at once.
STOP_PATIENCE = '15'

# Argument: (parameter that it sets, description)
CHOICES = {
    'policy': ('policy', 'Folder of the policy bundle'),
    'backend': ('backend', 'What runs the network, such as onnxruntime'),
    'joint_states_topic': ('topics.joint_states', 'Topic of the joint states'),
    'imu_topic': ('topics.imu', 'Topic of the IMU'),
    'odometry_topic': ('topics.odometry', 'Topic of the odometry, where the policy needs it'),
    'cmd_vel_topic': ('topics.cmd_vel', 'Topic of the velocity command'),
    'command_topic': ('topics.command', 'Topic of the joint commands'),
}


def _arguments() -> list[LaunchDescriptionEntity]:
    """Return what may stand on the command line."""
    switch = ['true', 'false']
    return [
        DeclareLaunchArgument(
            'config', description='Parameter file of the robot, such as a copy of '
            'config/pup.yaml. There is no default: limits and joint order of one robot are wrong '
            'on another'),
        *(DeclareLaunchArgument(name, default_value='',
                                description=f'{text}; empty: as in config')
          for name, (_, text) in CHOICES.items()),
        DeclareLaunchArgument('namespace', default_value='',
                              description='Namespace of the node and its topics'),
        DeclareLaunchArgument('use_sim_time', default_value='', choices=['', *switch],
                              description='Take the time of stamps from /clock; empty: as in '
                                          'config'),
        DeclareLaunchArgument('log_level', default_value='info',
                              description='debug, info, warn or error, or LOGGER:=LEVEL'),
        DeclareLaunchArgument('autostart', default_value='false', choices=switch,
                              description='Configure and activate at once: THE ROBOT MOVES as '
                                          'soon as its inputs are good'),
    ]


def _node(context: LaunchContext) -> LifecycleNode:
    config = Path(LaunchConfiguration('config').perform(context)).expanduser()
    if not config.is_file():
        # launch_ros itself would warn and start the node without it.
        raise FileNotFoundError(f"config '{config}' is not a file; expected the parameter file of "
                                'the robot')
    parameters = {parameter: ParameterValue(LaunchConfiguration(name), value_type=str)
                  for name, (parameter, _) in CHOICES.items()
                  if LaunchConfiguration(name).perform(context)}
    if LaunchConfiguration('use_sim_time').perform(context):
        parameters['use_sim_time'] = ParameterValue(LaunchConfiguration('use_sim_time'),
                                                    value_type=bool)
    return LifecycleNode(
        package='sim2real_policy', executable='policy_node', name='policy_node',
        namespace=LaunchConfiguration('namespace'), output='screen',
        parameters=[str(config), *([parameters] if parameters else [])],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        sigterm_timeout=STOP_PATIENCE)


def _autostart(node: LifecycleNode) -> list[LaunchDescriptionEntity]:
    """Return the handlers that configure the node and then activate it."""
    def change(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node),
                                           transition_id=transition))
    return [
        RegisterEventHandler(OnProcessStart(
            target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)])),
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
            entities=[change(Transition.TRANSITION_ACTIVATE)])),
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='unconfigured',
            entities=[LogInfo(msg='policy_node refused to configure; mend what it says above, '
                                  'then configure and activate it with ros2 lifecycle set')])),
    ]


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    node = _node(context)
    autostart = LaunchConfiguration('autostart').perform(context) == 'true'
    # Handlers first: an event before them would be lost.
    return [*(_autostart(node) if autostart else []), node]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*_arguments(), OpaqueFunction(function=_start)])
