"""Hostile input at every door and every parser, reproducible by a seed: ``python -m tests.fuzz``, ``make fuzz``."""
