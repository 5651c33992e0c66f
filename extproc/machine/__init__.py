"""The share of the machine that this process may use: CPUs, memory and open files."""
