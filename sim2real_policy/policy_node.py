"""The lifecycle node: parameters, topics, services and threads; no arithmetic."""

from __future__ import annotations

from collections.abc import Callable
import functools
import gc
import os
from pathlib import Path
import sys
import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Imu, JointState
from sim2real_policy.board_monitor import BoardMonitor, make_board_monitor
from sim2real_policy.bundle import Bundle, load_bundle
from sim2real_policy.command_output import CommandOutput
from sim2real_policy.control_loop import Cast, ControlLoop
from sim2real_policy.errors import ConfigError, PolicyError
from sim2real_policy.inbox import Inbox
from sim2real_policy.inference import GpuChoices, make_runner
from sim2real_policy.messages import make_command_writer
from sim2real_policy.parameters import (
    check_change,
    declare_parameters,
    NodeParameters,
    pipeline_settings,
    read_parameters,
)
from sim2real_policy.pipeline import PipelineSettings, PolicyPipeline
from sim2real_policy.rehearsal import Rehearsal
from sim2real_policy.report import NodeReport
from sim2real_policy.spinning import spin_until_stopped, StopRequest
from sim2real_policy.supervisor import PATIENCE, Supervisor
from std_srvs.srv import Trigger

SENSOR_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)
SUPERVISION_PERIOD = 0.02  # s
DIAGNOSTICS_PERIOD = 1.0  # s
WATCHDOG_PERIODS = 5
MIN_WATCHDOG_TIMEOUT = 0.1  # s
MIN_REHEARSED_PERIOD = 0.005  # s; a shorter one has no time for it, and keeps warm by itself
NOT_CONFIGURED = (False, 'the node is not configured')
USER_MISTAKE_EXIT_CODE = 2
_Transition = Callable[['PolicyNode', LifecycleState], TransitionCallbackReturn]


def _reported(transition: _Transition) -> _Transition:
    """Tell every failure of a transition: rclpy itself would swallow it without a trace."""
    @functools.wraps(transition)
    def wrapped(node: PolicyNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = transition(node, state)
        except PolicyError as error:
            node.report.refuse(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001  the boundary: rclpy hides what comes after it
            node.report.refuse(f'internal error, please report it: {traceback.format_exc()}')
            return TransitionCallbackReturn.FAILURE
        return result
    return wrapped


class PolicyNode(LifecycleNode):
    """
    Drives a robot with a policy.

    configure: load, check, allocate, warm up, compare with the golden vectors. activate: wait
    for good inputs, then ramp from the measured pose, then run. deactivate, shutdown and
    signals: the safe command is the last one out.
    """

    def __init__(self) -> None:
        """
        Declare the parameters and offer what is there in every state.

        :raises ConfigError: if a given parameter is wrong.
        """
        super().__init__('policy_node', automatically_declare_parameters_from_overrides=True)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.loop: ControlLoop | None = None
        self.bundle: Bundle
        self.inbox: Inbox
        self.output: CommandOutput
        self.parameters: NodeParameters
        self._inputs: list[Any] = []
        self._publisher: Any = None
        self._supervisor: Supervisor | None = None
        self.board_monitor: BoardMonitor | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.report = NodeReport(
            self, self.create_publisher(DiagnosticStatus, '~/state', LATCHED_QOS),
            self.create_publisher(DiagnosticArray, '/diagnostics', 10))
        self.create_service(Trigger, '~/reset_fault', self._on_reset_fault)
        self.create_service(Trigger, '~/estop', self._on_estop)
        self.create_timer(SUPERVISION_PERIOD, self._supervise, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self.report.publish_diagnostics, clock=steady)
        self._guard_transitions()

    def _guard_transitions(self) -> None:
        """Answer an impossible transition with a refusal; older rclpy would end the process."""
        for service in self.services:
            if service.srv_name.endswith('/change_state'):
                service.callback = functools.partial(self._change_state, service.callback)

    def _change_state(self, change: Callable[[Any, Any], Any], request: Any,
                      response: Any) -> Any:
        try:
            return change(request, response)
        except Exception as error:  # noqa: BLE001  rclpy raises its C library's errors
            self.get_logger().error(f'transition refused: {error}')
            response.success = False
            return response

    @_reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and check everything; nothing is left for the first tick."""
        self.report.refusal = ''
        try:
            self._configure(read_parameters(self))
        except Exception:
            self._release()
            raise
        gc.collect()
        gc.freeze()
        self.report.tell_configuration()
        return TransitionCallbackReturn.SUCCESS

    def _configure(self, parameters: NodeParameters) -> None:
        if not parameters.policy:
            raise ConfigError("parameter 'policy' is empty; set it to the folder of the bundle")
        self.parameters = parameters
        self.bundle = load_bundle(Path(parameters.policy).expanduser())
        contract = self.bundle.contract
        settings = pipeline_settings(parameters, contract)
        writer = make_command_writer(parameters.command_interface, contract.action_joints,
                                     parameters.command_joint_names, contract.control_period)
        self._publisher = self.create_publisher(writer.message_type, parameters.topics_command,
                                                COMMAND_QOS)
        stamp_clock = self._stamp_clock()
        self.output = CommandOutput(self._publisher, writer, stamp_clock)
        self.inbox = Inbox(contract, parameters.imu_orientation_in_base)
        self.loop = ControlLoop(
            functools.partial(_build, parameters, self.bundle, settings, self.inbox),
            self.inbox, self.output, contract.control_period, parameters.trigger == 'joint_states',
            settings.monitor.joint_timeout, stamp_clock)
        self.loop.start()
        self._supervisor = Supervisor(
            self.bundle, self.loop, self.inbox, self.output, parameters.watchdog_timeout or max(
                MIN_WATCHDOG_TIMEOUT, WATCHDOG_PERIODS * contract.control_period),
            parameters.stop_duration)
        self.board_monitor = make_board_monitor(parameters.board_monitor)
        if self.board_monitor is not None:
            self.board_monitor.start()
        self._subscribe()

    def _stamp_clock(self) -> Callable[[], int]:
        """Return what reads ROS time [ns]: the system clock, or /clock where that is asked for."""
        if self.get_parameter('use_sim_time').value:
            clock = self.get_clock()
            return lambda: int(clock.now().nanoseconds)
        return time.time_ns

    def _subscribe(self) -> None:
        parameters, inbox = self.parameters, self.inbox
        self._joint_messages = 0
        on_joints = inbox.put_joint_state
        if parameters.trigger == 'joint_states':
            on_joints = self._on_triggering_joint_state
        command_type = TwistStamped if parameters.cmd_vel_stamped else Twist
        self._inputs = [
            self.create_subscription(JointState, parameters.topics_joint_states, on_joints,
                                     SENSOR_QOS, raw=True),
            self.create_subscription(Imu, parameters.topics_imu, inbox.put_imu, SENSOR_QOS,
                                     raw=True),
            self.create_subscription(command_type, parameters.topics_cmd_vel, inbox.put_command,
                                     SENSOR_QOS)]
        if self.bundle.contract.uses('base_lin_vel'):
            self._inputs.append(self.create_subscription(
                Odometry, parameters.topics_odometry, inbox.put_odometry, SENSOR_QOS, raw=True))

    def _on_triggering_joint_state(self, raw: bytes) -> None:
        self.inbox.put_joint_state(raw)
        self._joint_messages += 1
        if self._joint_messages % self.parameters.trigger_every == 0 and self.loop is not None:
            self.loop.trigger()

    @_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Wait for good inputs; the ramp begins by itself."""
        assert self.loop is not None
        self.report.refusal = ''
        self.loop.activate()
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold the measured pose, then be silent."""
        self.stop_robot()
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the network and of all topics."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot, then let go of everything."""
        self.stop_robot()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do as on shutdown, and come back unconfigured."""
        self.stop_robot()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def stop_robot(self) -> None:
        """Send the measured pose as the last commands; harmless where nothing was ever sent."""
        if self._supervisor is not None and self._supervisor.stop():
            self._publisher.wait_for_all_acked(Duration(seconds=PATIENCE))
            self.report.publish_run()

    def count_command_subscribers(self) -> int:
        """Return how many listen to the commands."""
        return self._publisher.get_subscription_count() if self._publisher is not None else 0

    def _release(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        self._supervisor = None
        if self.loop is not None:
            self.loop.close(PATIENCE)
            self.loop = None
        if self._publisher is not None:
            self.destroy_publisher(self._publisher)
            self._publisher = None
        self.close_board_monitor()
        gc.unfreeze()

    def close_board_monitor(self) -> None:
        """End the program that watches the computer; harmless where there is none."""
        if self.board_monitor is not None:
            self.board_monitor.close()
            self.board_monitor = None

    def _supervise(self) -> None:
        """Watch the control thread, and tell every change of state."""
        if self._supervisor is not None:
            self._supervisor.watch()
        self.report.publish_state_changes()

    def _on_estop(self, request: Trigger.Request, response: Trigger.Response) \
            -> Trigger.Response:
        response.success, response.message = NOT_CONFIGURED if self._supervisor is None \
            else self._supervisor.stop_for_operator()
        return response

    def _on_reset_fault(self, request: Trigger.Request, response: Trigger.Response) \
            -> Trigger.Response:
        response.success, response.message = NOT_CONFIGURED if self._supervisor is None \
            else self._supervisor.reset_fault()
        return response

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        reason = check_change(changes, locked=self.loop is not None)
        return SetParametersResult(successful=not reason, reason=reason)


def _build(parameters: NodeParameters, bundle: Bundle, settings: PipelineSettings,
           inbox: Inbox) -> Cast:
    """Make runner and pipeline, and prove both against the bundle."""
    runner = make_runner(parameters.backend, bundle, GpuChoices(
        parameters.engine, parameters.gpu_wait, parameters.backend_fallback))
    try:
        pipeline = PolicyPipeline(bundle.contract, runner, settings, time.perf_counter_ns)
        if parameters.backend != 'zero':
            pipeline.check_chain(bundle.golden, runner.facts.tolerance)
        rehearsal = Rehearsal(bundle, runner, settings, inbox) if (
            parameters.rehearsal and bundle.contract.control_period >= MIN_REHEARSED_PERIOD
        ) else None
    except Exception:
        runner.close()
        raise
    return Cast(runner, pipeline, rehearsal)


def main(args: list[str] | None = None) -> int:
    """
    Run the node until SIGINT or SIGTERM.

    :param args: command line; ROS arguments are taken from it.
    :returns: the exit code: 0 after a signal, 2 where a parameter was wrong.
    """
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        stop = StopRequest()
        node = PolicyNode()
    except (PolicyError, ParameterException, RuntimeError) as error:
        sys.stderr.write(f"policy_node: {' '.join(str(error).split())}\n")
        rclpy.try_shutdown()
        return USER_MISTAKE_EXIT_CODE
    _set_priority(node)
    try:
        spin_until_stopped(node, stop)
    finally:
        node.stop_robot()
        node.report.publish_state_changes()
        node.close_board_monitor()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _set_priority(node: PolicyNode) -> None:
    """Run in real time where that is asked for and allowed."""
    priority = node.get_parameter('realtime_priority').value
    if not priority:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, PermissionError) as error:
        node.get_logger().warning(
            f'realtime_priority {priority} is not permitted ({error}); allow it with an rtprio '
            'entry in /etc/security/limits.conf, or set it to 0')


if __name__ == '__main__':
    sys.exit(main())
