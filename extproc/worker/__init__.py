"""A worker: a process that serves one address, and the processes and requests that it starts for its calls.

It knows no sibling. `stack` starts several, Kubernetes one or a few.
"""
