"""Converse's stop reasons and OpenAI's finish reasons."""

FINISH_REASONS = [
    ("end_turn", "stop", "tool_calls"),
    ("stop_sequence", "stop", "tool_calls"),
    ("tool_use", "stop", "tool_calls"),
    ("max_tokens", "length", "length"),
    ("model_context_window_exceeded", "length", "length"),
    ("guardrail_intervened", "content_filter", "content_filter"),
    ("content_filtered", "content_filter", "content_filter"),
    ("refusal", "content_filter", "content_filter"),
    ("brand_new_reason", "stop", "tool_calls"),
]
"""Each stop reason with its finish reason, of a message of text alone and of one with a tool call."""
