#!/usr/bin/env python3
"""Measure tick, latency, lateness and CPU use on this machine, against plain rclpy."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim2real_policy.offline.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
