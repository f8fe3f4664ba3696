#!/usr/bin/env python3
"""Build a TensorRT engine of a policy bundle, on the machine that will run it."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim2real_policy.offline.build_engine import main

if __name__ == '__main__':
    sys.exit(main())
