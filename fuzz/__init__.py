"""Fuzzing of what reads bytes that others write: each target states an invariant, atheris looks for a counterexample.

`python -m fuzz` runs the targets (`fuzz.targets`), each in a process of its own. What a target checks needs nothing but
the gateway, so that the unit tests run it too, over its seeds and over small mutations of them.
"""
