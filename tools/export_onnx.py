#!/usr/bin/env python3
"""Write the policy bundle of a training run."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim2real_policy.offline.export_onnx import main

if __name__ == '__main__':
    sys.exit(main())
