"""Rates of requests and tokens: the algorithm, and counters in the process."""
