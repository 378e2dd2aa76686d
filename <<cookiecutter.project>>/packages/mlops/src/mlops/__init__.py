"""Measure, gate and report the models of this repository. See `mlops --help`."""
