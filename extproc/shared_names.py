"""Names that Envoy's configuration and the worker share, and a limit.

Decision: docs/decisions.md, D38.
"""

API_PATH = "/oai/v1"
"""The path of the API."""

METADATA_NAMESPACE = "oai"
"""The namespace of the worker's dynamic metadata; the filter's `receiving_namespaces` contains it."""

AI_USAGE_NAMESPACE = "envoy.ai.token_usage"
"""The namespace in which Envoy's own filters for AI look for a call's tokens."""

SIGNED = "signed"
"""The mark of a signed request: its key in the metadata, and its value as a header.

Its value in the metadata is true. For a request that was signed for another region than the gateway's own, that
region's name is the value of both."""

MARK_HEADER = "x-forwarded-client-cert"
"""The header with the mark, for routes that cannot match metadata. Envoy removes it from callers' requests before it
chooses a route, unless a listener's `forward_client_cert_details` is not its default, SANITIZE."""

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
"""The namespace in which Envoy's filter for signed tokens writes, whatever the filter's own name is."""

JWT_VERIFIED = "oai-verified"
"""The key of the payload of a token that was verified."""

JWT_FAILED = "oai-failed"
"""The key of the status of a token that was not."""

LIMIT_RESET_HEADER = "x-ratelimit-reset"
"""The header in which Envoy's filter for a rate limit service has the seconds until a limit is free again."""

LONGEST_CALL_SECONDS = 3600
"""Seconds after which Envoy cuts a call. A worker ends a stream a little earlier, with an error."""
