"""Rates of requests and tokens, and budgets: the algorithms, and counters in the process."""
