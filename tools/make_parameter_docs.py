#!/usr/bin/env python3
"""Write docs/parameters.md from the parameters that the policy node declares."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import math
from pathlib import Path
import sys
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sim2real_policy.parameters import SPECS

PAGE = ROOT / 'docs' / 'parameters.md'
TYPES = {bool: 'bool', int: 'int', float: 'double', str: 'string'}

TEMPLATE = """\
# Parameters, topics and services of the policy node

<!-- Written by tools/make_parameter_docs.py, which takes the table from parameters.py. -->

## Parameters
What a person chooses for one robot; the facts of training stand in the bundle's `contract.yaml`.
They come from a file, such as [config/pup.yaml](../config/pup.yaml), or one by one:

    ros2 launch sim2real_policy policy.launch.py config:=my_robot.yaml policy:=my_bundle
    ros2 run sim2real_policy policy_node --ros-args --params-file my_robot.yaml -p max_tilt:=0.8

`ros2 launch sim2real_policy policy.launch.py --show-args` lists the arguments of the launch file.

An unknown name or a wrong value ends the node with one sentence and exit code 2. All take effect
at configure; from then on a change is refused until `ros2 lifecycle set /policy_node cleanup`.
`use_sim_time` moves the stamps of messages, never the pace of the node.

{parameters}

Position limits have to be given where the contract has none; where both are there, the tighter one
holds.

## Topics
The names are the defaults of the parameters `topics.*`. Inputs are taken best effort, depth 1.

| Input | Type | Notes |
|---|---|---|
| `joint_states` | sensor_msgs/JointState | by name: any order, others beside them |
| `imu/data` | sensor_msgs/Imu | orientation and angular velocity |
| `odom` | nav_msgs/Odometry | only where the policy observes `base_lin_vel` |
| `cmd_vel` | geometry_msgs/Twist or TwistStamped | clipped to the range of training |

| Output | Type | Notes |
|---|---|---|
| `~/commands` | see below | reliable, depth 1; the last ones hold the measured pose |
| `~/state` | diagnostic_msgs/DiagnosticStatus | reliable, latched; at every change |
| `/diagnostics` | diagnostic_msgs/DiagnosticArray | once a second, and after a run |

| `command_interface` | Type of the command |
|---|---|
| `float64_multi_array` | std_msgs/Float64MultiArray, in the order of `command_joint_names` |
| `joint_state` | sensor_msgs/JointState, with names |
| `joint_trajectory` | trajectory_msgs/JointTrajectory, one point, one control period ahead |

## Services
| Service | Type | What it does |
|---|---|---|
| `~/estop` | std_srvs/Trigger | holds the measured pose at once, as fault F401 |
| `~/reset_fault` | std_srvs/Trigger | leaves a fault whose cause is gone; ramps up again |
| `~/change_state` and its like | lifecycle_msgs | what `ros2 lifecycle` uses |

In the lifecycle state active the node is in phase WAITING, RAMP, RUN or FAULT, as this tells:

    ros2 topic echo --once /policy_node/state
"""


def format_value(value: Any) -> str:
    """
    Return a default as a person would write it.

    :param value: from a spec.
    """
    if isinstance(value, list):
        items = [item for item in value if item != '' and item == item]
        return f'`[{", ".join(f"{item:g}" for item in items)}]`' if items else 'none'
    if isinstance(value, bool):
        return f'`{str(value).lower()}`'
    if isinstance(value, float):
        return f'`{value:.4g}`' if value % 1.0 else f'`{value:.1f}`'
    return f'`{value}`' if value != '' else 'none'


def type_name(value: Any) -> str:
    """
    Return the ROS name of a default's type.

    :param value: from a spec.
    """
    if isinstance(value, list):
        return f'{TYPES[type(value[0])]} array'
    return TYPES[type(value)]


def format_range(spec: Any) -> str:
    """
    Return what the values of a parameter may be.

    :param spec: from SPECS.
    """
    if spec.choices:
        return ', '.join(f'`{choice}`' for choice in spec.choices)
    if spec.low is None or spec.high is None:
        return ''
    high = 'pi' if spec.high == math.pi else f'{spec.high:g}'
    return f'{spec.low:g} to {high}'


def make_page() -> str:
    """Return the whole page."""
    rows = ['| Name | Type | Default | Range | Meaning |', '|---|---|---|---|---|']
    rows += [f'| `{name}` | {type_name(spec.default)} | {format_value(spec.default)} '
             f'| {format_range(spec)} | {spec.description} |'.replace('  ', ' ')
             for name, spec in SPECS.items()]
    return TEMPLATE.format(parameters='\n'.join(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """
    Write or check the page.

    :param argv: command line.
    :returns: exit code: 0, or 1 where the page is out of date.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if out of date')
    parser.add_argument('--page', type=Path, default=PAGE, help='the file')
    arguments = parser.parse_args(argv)
    page = make_page()
    if not arguments.check:
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        arguments.page.write_text(page, encoding='utf-8')
        return 0
    if arguments.page.is_file() and arguments.page.read_text(encoding='utf-8') == page:
        return 0
    print(f'{arguments.page} is out of date; run tools/make_parameter_docs.py', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
