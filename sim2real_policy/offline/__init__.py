"""What never runs on the robot while it moves: importing a run, exporting, replaying, checking."""
