"""A benchmark of the gateway beside bare Envoy, Envoy with a no-op ext_proc, and LiteLLM's proxy.

All stacks run at once, in front of the same upstream (`upstream.c`) and the same load generator (`load.c`). In each
round they are started anew, and every workload runs on every stack, in random order. A figure is the CPU time that
the kernel counted for a process, divided by what it did. Ratios are made within a round, and the report gives the
median over the rounds: the machine's other work moves all figures of a round together, and their ratio little.

    workloads ──> stacks ──> measuring ──> results ──> targets, report, pictures

Invariant: a fault (another status, a stream without its end, a missing frame) is counted and shown beside the figure
that it affects.
"""
