"""Envoy's ext_proc messages to exchanges, their directives back. Only this package knows gRPC and protobuf."""
