"""Envoy's ext_proc messages to exchanges, their directives back. Only this room knows gRPC and protobuf."""
