"""
The demo without ``ros2 launch``: simulated robot and policy node as processes of their own.

``python -m sim2real_policy.simulation.demo`` (or ``make demo``) starts both, lets
:mod:`sim2real_policy.simulation.demo_driver` walk the robot, and stops both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import random
import signal
import subprocess
import sys

from sim2real_policy.errors import PolicyError
from sim2real_policy.resources import config_file, PUP_BUNDLE

STOP_PATIENCE = 10.0  # s
LOG_TAIL = 15  # lines


class Background:
    """A node in a process and a session of its own, so that Ctrl-C reaches it through us."""

    def __init__(self, module: str, log: Path, *parameters: str) -> None:
        """
        Start it.

        :param module: what ``python -m`` runs.
        :param log: takes its output; replaced.
        :param parameters: ROS arguments.
        """
        self.module = module
        self.log = log
        with log.open('w', encoding='utf-8') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, '--ros-args', *parameters],
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def stop(self) -> int:
        """Interrupt it as Ctrl-C does and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def tail(self) -> str:
        """Return the end of its output."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        return '\n'.join(lines[-LOG_TAIL:])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo', description='Walk the simulated Pup through the real policy node.')
    parser.add_argument('--policy', type=Path, default=PUP_BUNDLE, help='policy bundle')
    parser.add_argument('--config', type=Path, default=None, help='parameters of the policy node')
    parser.add_argument('--out', type=Path, default=Path('out'), help='folder of the results')
    parser.add_argument('--no-progress', action='store_true', help='show no progress bar')
    return parser.parse_args(argv)


def _isolate() -> None:
    """Keep the demo among itself, unless the user chose a domain."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(random.randint(1, 101)))
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ.setdefault('ROS_LOCALHOST_ONLY', '1')
    else:
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the demo.

    :param argv: command line.
    :returns: exit code, as :func:`sim2real_policy.simulation.demo_driver.drive`.
    """
    arguments = _arguments(argv)
    _isolate()
    try:
        from sim2real_policy.simulation.demo_driver import drive
        config = arguments.config or config_file('pup.yaml')
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (PolicyError, ImportError, OSError) as error:
        sys.stderr.write(f'demo: {error}\n')
        return 2
    robot = Background('sim2real_policy.simulation.sim_robot_node',
                       arguments.out / 'sim_robot_node.log')
    policy = Background('sim2real_policy.policy_node', arguments.out / 'policy_node.log',
                        '--params-file', str(config), '-p', f'policy:={arguments.policy}')
    try:
        code = drive(['demo', '--ros-args', '-p', f'out:={arguments.out}'],
                     quiet=arguments.no_progress)
    finally:
        endings = [(process, process.stop()) for process in (policy, robot)]
    for process, ending in endings:
        if ending != 0 or code == 2:
            sys.stderr.write(f'{process.module} ended with exit code {ending}; its last words:\n'
                             f'{process.tail()}\n')
            code = code or 1
    return code


if __name__ == '__main__':
    sys.exit(main())
