"""A simulated robot that stands in for a real one; nothing of it reaches the policy node."""
