"""Processes: a worker serves one socket and knows no sibling; the stack starts, watches and stops them all."""
