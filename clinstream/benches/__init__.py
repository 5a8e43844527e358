"""Measurements, each against a baseline of the same run; how to ask for one is in `commands.bench`."""
