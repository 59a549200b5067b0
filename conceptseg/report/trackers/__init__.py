"""Trackers of experiments that a finished run can be given to: one file each, with `send`."""
