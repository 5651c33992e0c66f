"""The record of a call, and log lines."""
