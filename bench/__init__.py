"""What the gateway costs, measured beside bare Envoy, Envoy with a no-op ext_proc, and LiteLLM's proxy.

All stacks are up at once, before the same upstream (`upstream.c`) and the same load generator (`load.c`). In each
round they are started afresh, and every workload runs on every stack, in random order. A figure is the CPU time that
the kernel counted for a process, divided by what it did. Ratios are made within a round, and the report gives the
median over the rounds: the machine's other work moves all figures of a round together, and their ratio little.

    workloads ──> stacks ──> measuring ──> results ──> targets, report, pictures

Invariant: what went wrong (another status, a stream without its end, a frame too few) is counted and shown beside the
figure that it spoils.
"""
