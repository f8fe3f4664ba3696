"""One tick as the control thread does it, stage by stage, in this process."""

from __future__ import annotations

import time
from typing import Any

from sim2real_policy.bundle import Bundle
from sim2real_policy.command_output import CommandOutput
from sim2real_policy.inbox import Inbox
from sim2real_policy.inference import make_runner
from sim2real_policy.messages import make_command_writer
from sim2real_policy.offline.benchmark_processes import BenchmarkError, chosen_backend
from sim2real_policy.offline.benchmark_robot import (
    command_order,
    pipeline_settings,
    RAMP_DURATION,
    serialized,
    StandingRobot,
)
from sim2real_policy.pipeline import PolicyPipeline
from sim2real_policy.rehearsal import Rehearsal
from sim2real_policy.safety import Phase

STAGES = ('decode', 'observation', 'inference', 'action_and_safety', 'publish')
_WARM_UP_TICKS = 20
_COMMAND_QOS = 1


class BenchmarkTick:
    """Runner, pipeline, inbox and output of a policy that drives a standing robot, in RUN."""

    def __init__(self, bundle: Bundle, node: Any) -> None:
        """
        Build them and tick until the ramp is over.

        :param bundle: the policy.
        :param node: publishes the commands.
        :raises BenchmarkError: if the policy does not get to RUN.
        """
        contract = bundle.contract
        robot = StandingRobot(contract)
        self.runner = make_runner(chosen_backend(), bundle)
        settings = pipeline_settings(contract)
        self._pipeline = PolicyPipeline(contract, self.runner, settings, time.perf_counter_ns)
        self._inbox = Inbox(contract, (0.0, 0.0, 0.0, 1.0))
        self._rehearsal = Rehearsal(bundle, self.runner, settings, self._inbox)
        writer = make_command_writer('float64_multi_array', contract.action_joints,
                                     command_order(contract), contract.control_period)
        publisher = node.create_publisher(writer.message_type, 'commands', _COMMAND_QOS)
        self._output = CommandOutput(publisher, writer, time.time_ns)
        put = {'imu': self._inbox.put_imu, 'odometry': self._inbox.put_odometry}
        self._inputs = [(self._inbox.put_joint_state, serialized(robot.joint_state)),
                        *((put[name], serialized(message))
                          for name, message in robot.others.items())]
        self._pipeline.activate()
        self._reach_run(contract.control_period)

    def _reach_run(self, period: float) -> None:
        ticks = int(RAMP_DURATION / period) + _WARM_UP_TICKS
        for _ in range(ticks):
            self.receive()
            self.rehearse()
            self.tick(time.monotonic())
            time.sleep(period)
        self.check()

    def check(self) -> None:
        """
        Look whether the policy drives.

        :raises BenchmarkError: if it does not.
        """
        safety = self._pipeline.safety
        if safety.phase is not Phase.RUN:
            raise BenchmarkError(f'the policy is in {safety.phase.value} instead of RUN on a '
                                 f'robot that stands in its default pose: {safety.reason}. '
                                 'Check the default pose and the limits of the contract')

    def receive(self) -> None:
        """Put new measurements into the inbox."""
        now_ns = time.time_ns()
        for put, message in self._inputs:
            put(message(now_ns))

    def rehearse(self) -> None:
        """Warm up for the tick that comes next."""
        self._rehearsal.rehearse(time.monotonic())

    def tick(self, now: float, send: bool = True) -> tuple[int, ...]:
        """
        Do one tick.

        :param now: steady-clock time [s].
        :param send: False to publish nothing.
        :returns: duration of each of :data:`STAGES` [ns].
        """
        pipeline = self._pipeline
        begin = time.perf_counter_ns()
        self._inbox.collect(pipeline.state)
        command = pipeline.step(self._inbox.command, now)
        stepped = time.perf_counter_ns()
        if send and command is not None:
            self._output.send(command)
        end = time.perf_counter_ns()
        a, b, c, d = pipeline.marks
        return a - begin, b - a, c - b, d - c, end - stepped

    def infer(self) -> int:
        """Run the network alone; return how long it took [ns]."""
        begin = time.perf_counter_ns()
        self.runner.run()
        return time.perf_counter_ns() - begin
