"""gRPC's health protocol, as far as workers and those who check them use it."""

HEALTH = "grpc.health.v1.Health"

SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"
"""`grpc.health.v1.HealthCheckResponse`: field 1 is the status."""
