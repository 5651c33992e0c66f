"""What is remembered of a call, and how the service speaks of itself."""
