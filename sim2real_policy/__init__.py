"""Run a policy trained in Isaac Lab on a real robot, exactly as in training."""

__version__ = '0.1.0'
