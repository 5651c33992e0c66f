"""API keys, organisations and their models."""
