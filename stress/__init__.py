"""Races many processes; see the README beside this file."""
