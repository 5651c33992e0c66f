"""Envoy's admin interface: its health, its load, and taking it out of service."""
