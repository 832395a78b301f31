"""Cuts the power at every system call of every operation; see the README of `stress`."""
