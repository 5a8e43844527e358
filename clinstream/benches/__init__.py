"""Measurements, each against a baseline of the same run; what they ask of the stack is in the documentation of `bench`."""
