"""gateway.yaml that is rejected: each error message names the fault and the fix."""

import re

import pytest

from extproc.config import ConfigError, parse
from tests.unit.test_config import DIGEST

REJECTED = {
    # keys
    "organisation: {}": "organisation: unknown key, did you mean `organisations`?; known here: region, regions",
    "organisations: {acme: {models: {allw: []}}}": "organisations.acme.models.allw: unknown key, did you mean `allow`",
    "organisations: {acme: {models: {alow: []}}}": "known here: allow, deny",
    # guardrails
    "organisations: {acme: {guardrail: {id: gr1}}}": "organisations.acme.guardrail.version: missing; expected a",
    "organisations: {acme: {endpoints: {response: true}}}": "acme.endpoints.response: unknown key, did you",
    "organisations: {acme: {endpoints: true}}": "organisations.acme.endpoints: expected a mapping; found true",
    "organisations: {acme: {guardrail: {id: gr1, version: 1}}}": "expected a version in quotes, as in",
    "organisations: {acme: {guardrail: {id: GR-1, version: '1'}}}": "expected the id or ARN of a guardrail of Bedrock",
    # aws
    "aws: {request_metadata: [organization]}": "aws.request_metadata[0]: expected `organisation`, `token` or",
    "aws: {request_metadata: [token, token]}": "aws.request_metadata: a name is repeated; write each once",
    "organisations: {acme: {request_metadata: {OAI.team: x}}}": (
        "organisations.acme.request_metadata.OAI.team: keys that begin with `oai.` are the gateway's; choose another"
    ),
    "organisations: {acme: {request_metadata: {équipe: x}}}": "expected a key of 1 to 256 letters, digits, blanks and",
    "organisations: {acme: {request_metadata: {team: é}}}": (
        "organisations.acme.request_metadata.team: expected a text of 0 to 256 letters, digits, blanks and"
    ),
    f"organisations: {{acme: {{request_metadata: {{{', '.join(f'k{n}: x' for n in range(14))}}}}}}}": (
        "organisations.acme.request_metadata: 14 pairs, at most 13 are accepted"
    ),
    # regions
    "regions: [eu-west-1, eu-west-1]": "regions: a region is repeated; write each once",
    "regions: [EU]": "regions[0]: expected the name of an AWS region, as in us-east-1; found",
    "{regions: [eu-west-1], organisations: {acme: {region: eu-west-2}}}": (
        "organisations.acme.region: `eu-west-2` is not in `regions`, did you mean `eu-west-1`?: add it there, and start"
    ),
    "organisations: {acme: {region: us-east-1}}": "organisations.acme.region: `us-east-1` is not in `regions`: add it",
    # roles
    "organisations: {acme: {role: {arn: 'arn:aws:iam::1:role/x'}}}": "acme.role.arn: expected the ARN of an IAM role",
    "organisations: {acme: {role: {arn: 'arn:aws:iam::123456789012:user/x'}}}": "expected the ARN of an IAM role",
    "organisations: {acme: {role: {external_id: ab}}}": "organisations.acme.role.arn: missing; expected the ARN of an",
    "organisations: {a: {role: {arn: 'arn:aws:iam::123456789012:role/x', external_id: b}}}": "expected an external id",
    "organisations: {acme: {geography: eu}}": "organisations.acme.geography: expected `strict` or `global`; found",
    # aliases
    "aliases: {'gpt 4o': a.b}": "aliases['gpt 4o']: expected a name for a model (",
    "aliases: {gpt-4o: 'a b'}": "aliases.gpt-4o: expected the id or ARN of a model of Bedrock",
    "aliases: {gpt-4o: 4}": "aliases.gpt-4o: expected the id or ARN of a model of Bedrock",
    "aliases: {gpt-4o: a..b}": "aliases.gpt-4o: `a..b` has not the form of a model's id or ARN",
    "aliases: {'arn:x': a.b}": "aliases.arn:x: an alias cannot look like an ARN",
    "aliases: {x: x}": "aliases.x: `x` -> `x` is a circle; write the id of a model",
    "aliases: {x: y, y: z, z: x}": "aliases.x: `x` -> `y` -> `z` -> `x` is a circle; write the id of a model",
    "aliases: {x: y, y: z, z: a.b}": "aliases.x: `y` is an alias too; write the id that it stands for, `a.b`",
    "{aliases: {x: a.b}, organisations: {acme: {aliases: {y: x}}}}": "organisations.acme.aliases.y: `x` is an alias",
    "{aliases: {x: a.b}, organisations: {acme: {aliases: {a.b: c.d}}}}": (
        "organisations.acme.aliases: `x` of `aliases`: `a.b` is an alias too; write the id that it stands for, `c.d`"
    ),
    f"aliases: {{{', '.join(f'x{n}: a.b' for n in range(501))}}}": "aliases: 501 aliases, at most 500 are accepted",
    "streaming: {keepalive: 5}": "streaming.keepalive: unknown key, did you mean `keepalive_seconds`?",
    "tokens: [{name: a, sha256: x, zzz: 1}]": "tokens[0].zzz: unknown key; known here: name, sha256, organisations",
    "1: 2": "top level: a key is read as the number 1, not as text; put it in quotes",
    "organisations: {no: {}}": "organisations: a key is read as false, not as text; put it in quotes",
    "organisations: {'a b': {}}": "organisations['a b']: expected a machine name (",
    "organisations: {'': {}}": "expected a machine name (",
    "organisations: {'acme\\n': {}}": "expected a machine name (",
    "organisations: {? [a] : {}}": "line 1, column 19: found unhashable key",
    # duplicate keys
    "tokens: []\nregion: us-east-1\ntokens: []": "line 3: the key `tokens` is in line 1 already",
    "organisations:\n  acme: {}\n  beta: {}\n  acme: {}": "line 4: the key `acme` is in line 2 already",
    "tokens:\n- name: a\n  'name': b": "line 3: the key `name` is in line 2 already",
    # types of values
    "workers: 0": "workers: expected `auto`, or a whole number from 1 to 64; found the number 0",
    "workers: '2'": "workers: expected `auto`, or a whole number from 1 to 64; found text",
    "workers: true": "workers: expected `auto`, or a whole number from 1 to 64; found true",
    "workers:": "workers: expected `auto`, or a whole number from 1 to 64; found nothing",
    "workers: 0x" + "f" * 5000: "found a huge number",
    "region: 5": "region: expected the name of an AWS region, as in us-east-1; found the number 5",
    "region: us-east-1/..": "region: expected the name of an AWS region",
    "tokens: {}": "tokens: expected a list; found a mapping",
    "tokens: [ci]": "tokens[0]: expected a mapping; found text",
    "organisations: []": "organisations: expected a mapping; found a list",
    "organisations: {acme: }": "organisations.acme: expected a mapping; found nothing",
    "organisations: {acme: {models: {allow: 'anthropic.*'}}}": "organisations.acme.models.allow: expected a list",
    "organisations: {acme: {models: {deny: ['global.* ']}}}": "organisations.acme.models.deny[0]: expected a pattern",
    "organisations: {acme: {models: {deny: ['']}}}": "organisations.acme.models.deny[0]: expected a pattern",
    "organisations: {acme: {enabled: maybe}}": "organisations.acme.enabled: expected true or false",
    "compat: {streaming_truncation: stopp}": "compat.streaming_truncation: expected `length` or `stop`",
    "streaming: {idle_seconds: 0}": "streaming.idle_seconds: expected a number of seconds, above 0",
    "streaming: {idle_seconds: .inf}": "streaming.idle_seconds: expected a number of seconds, above 0",
    "streaming: {idle_seconds: .nan}": "streaming.idle_seconds: expected a number of seconds, above 0",
    "limits: {request_bytes: 32MiB}": "limits.request_bytes: expected a whole number of bytes from 1024 (1 KiB)",
    "limits: {address_requests_per_second: 0}": (
        "limits.address_requests_per_second: expected a whole number from 1 to 100000"
    ),
    "limits: {address_requests_per_second: 100001}": (
        "limits.address_requests_per_second: expected a whole number from 1 to 100000"
    ),
    "limits: {address_requests_per_second: 1.5}": (
        "limits.address_requests_per_second: expected a whole number from 1 to 100000"
    ),
    "limits: {address_requests_per_second: fast}": (
        "limits.address_requests_per_second: expected a whole number from 1 to 100000"
    ),
    # tokens
    "tokens: [{name: a}]": "tokens[0].sha256: missing; expected 64 hex digits (the SHA-256 of the whole token",
    "tokens: [{name: a, sha256: abc}]": "`oai-extproc token create` prints it); found other text",
    f"tokens: [{{name: a, sha256: {DIGEST}0}}]": "tokens[0].sha256: expected 64 hex digits",
    f"tokens: [{{name: a, sha256: '{DIGEST}\\n'}}]": "tokens[0].sha256: expected 64 hex digits",
    f"tokens: [{{name: '', sha256: {DIGEST}}}]": "tokens[0].name: expected a name of 1 to 128 characters",
    f"tokens: [{{name: a, sha256: {DIGEST}, organisations: [acme]}}]": (
        "tokens[0].organisations[0]: no organisation `acme` is declared under `organisations`"
    ),
    f"organisations: {{acme: {{}}}}\ntokens: [{{name: a, sha256: {DIGEST}, organisations: [acmee]}}]": (
        "did you mean `acme`?"
    ),
    f"organisations: {{acme: {{}}}}\ntokens: [{{name: a, sha256: {DIGEST}, organisations: [acme, acme]}}]": (
        "tokens[0].organisations[1]: `acme` is repeated; keep one"
    ),
    f"tokens: [{{name: a, sha256: {DIGEST}}}, {{name: a, sha256: {'0' * 63}a}}]": (
        "tokens[1].name: the same as in tokens[0]; give each token a name of its own"
    ),
    f"tokens: [{{name: a, sha256: {DIGEST}, expires: 2027-01-01T00:00:00}}]": (
        "tokens[0].expires: expected a time with its zone, as in 2027-01-01T00:00:00Z; found a time without a zone"
    ),
    f"tokens: [{{name: a, sha256: {DIGEST}, models: [a]}}]": "tokens[0].models: expected a mapping; found a list",
    f"tokens: [{{name: a, sha256: {DIGEST}, models: {{alow: [a]}}}}]": (
        "tokens[0].models.alow: unknown key, did you mean `allow`?"
    ),
    f"tokens: [{{name: a, sha256: {DIGEST}, models: {{allow: [{'a,' * 501}]}}}}]": (
        "tokens[0].models.allow: 501 patterns, at most 500 are accepted"
    ),
    f"tokens: [{{name: a, sha256: {DIGEST}, scopes: chat}}]": "tokens[0].scopes: expected a list; found text",
    f"tokens: [{{name: a, sha256: {DIGEST}, scopes: [chat, chats]}}]": (
        "tokens[0].scopes[1]: expected `chat`, `embeddings`, `models`, `responses` or `usage`; found other text"
    ),
    f"tokens: [{{name: a, sha256: {DIGEST}, features: [tool]}}]": (
        "tokens[0].features[0]: expected `tools`, `web_search`, `images`, `documents`, `audio`, `video`, `fetch`, "
        "`s3`, `reasoning`, `structured_output`, `model_fields` or `responses`; found other text"
    ),
    "organisations: {acme: {features: tools}}": "organisations.acme.features: expected a list; found text",
    f"tokens: [{{name: a, sha256: {DIGEST}, expires: '2027-01-01'}}]": "expires: expected a time with its zone",
    f"tokens: [{{name: a, sha256: {DIGEST}, expires: 2027-02-30}}]": "line 1, column 103: no such time: day is out",
    "usage: {ledger: ''}": "usage.ledger: expected the path of a file, as in",
    "usage: {sqlite: a}": "usage.sqlite: it has the sums of a ledger; name that in `usage.ledger`",
    "usage: {ledger: a/b, sqlite: a//b}": "usage.sqlite: this is the file of `usage.ledger` as well; name another file",
    "usage: {ledger: a, sqlite: b, keep_days: 2}": "usage.keep_days: expected a whole number from 3 to 3650; found",
    "usage: {otlp: {}}": "usage.otlp.endpoint: missing",
    "usage: {otlp: {endpoint: 'https://a:4317'}}": "usage.otlp.endpoint: expected the URL of a collector with its port",
    "usage: {otlp: {endpoint: 'http://a'}}": "usage.otlp.endpoint: expected the URL of a collector with its port",
    "usage: {otlp: {endpoint: 'http://a:4318/v1/logs'}}": "usage.otlp.endpoint: expected the URL of a collector",
    "usage: {otlp: {endpoint: 'http://a:0'}}": "usage.otlp.endpoint: nothing can listen at `a:0`",
    "usage: {otlp: {endpoint: 'http://a:70000'}}": "usage.otlp.endpoint: 'a:70000' is not an address",
    "usage: {otlp: {endpoint: 'http://[1:2]:3'}}": "usage.otlp.endpoint: nothing can listen at `[1:2]:3`",
    "usage: {ledgers: a}": "usage.ledgers: unknown key, did you mean `ledger`?",
    "last_used_in: ''": "last_used_in: expected the path of a file, as in /var/lib/oai/last-used.json",
    "{directory: {dynamodb: {table: abc}}, last_used_in: a}": (
        "last_used_in: the table `abc` has the tokens, and when they were used last as well; write `last_used: true`"
    ),
    # rates
    "rate_limits: {organisation: {requests_per_minute: -1}}": (
        "rate_limits.organisation.requests_per_minute: expected `unlimited`, or a whole number from 1 to"
    ),
    "rate_limits: {token: {tokens_per_minute: 9007199254740993}}": "tokens_per_minute: expected `unlimited`",
    "rate_limits: {token: {tokens_per_minute: 1.5}}": "tokens_per_minute: expected `unlimited`",
    "rate_limits: {on_store_error: deny}": "rate_limits.on_store_error: expected `allow` or `reject`; found other text",
    "rate_limits: {tokens: {}}": "rate_limits.tokens: unknown key, did you mean `token`?",
    # a rate limit service
    "rate_limits: {by: mesh}": "rate_limits.by: expected `gateway` or `envoy`; found other text",
    "rate_limits: {by: envoy}": "rate_limits.service: missing; `rate_limits.by: envoy` needs the address of a service",
    "rate_limits: {service: 'a:1'}": "rate_limits.service: Envoy asks no service without `rate_limits.by: envoy`",
    "rate_limits: {domain: a}": "rate_limits.domain: Envoy asks no service without `rate_limits.by: envoy`",
    "rate_limits: {by: envoy, service: a}": "rate_limits.service: expected an address HOST:PORT",
    "rate_limits: {by: envoy, service: 'a:70000'}": "rate_limits.service: 'a:70000' is not an address",
    "rate_limits: {by: envoy, service: 'a:0'}": "rate_limits.service: nothing can listen at `a:0`",
    "rate_limits: {by: envoy, service: '[1:2]:3'}": "rate_limits.service: nothing can listen at `[1:2]:3`",
    "rate_limits: {by: envoy, service: 'a:1', sqlite: a}": "rate_limits.sqlite: with `rate_limits.by: envoy` nothing",
    "rate_limits: {by: envoy, service: 'a:1', token: {concurrent_streams: 1}}": (
        "rate_limits.token: with `rate_limits.by: envoy` the service has the limits"
    ),
    "{rate_limits: {by: envoy, service: 'a:1'}, organisations: {acme: {limits: {tokens_per_minute: 1}}}}": (
        "organisations.acme.limits: with `rate_limits.by: envoy` the service has the limits"
    ),
    f"{{rate_limits: {{by: envoy, service: 'a:1'}}, tokens: [{{name: a, sha256: {DIGEST}, "
    "limits: {requests_per_minute: 1}}]}": "tokens[0].limits: with `rate_limits.by: envoy` the service has the limits",
    "organisations: {acme: {limits: {concurrent_streams: 0}}}": (
        "organisations.acme.limits.concurrent_streams: expected `unlimited`, or a whole number from 1 to"
    ),
    "organisations: {acme: {limits: {requests_per_minut: 1}}}": (
        "organisations.acme.limits.requests_per_minut: unknown key, did you mean `requests_per_minute`?"
    ),
    "{organisations: {acme: {limits: {requests_per_minute: 60}}}, "
    f"tokens: [{{name: a, sha256: {DIGEST}, organisations: [acme], limits: {{requests_per_minute: 61}}}}]}}": (
        "tokens[0].limits.requests_per_minute: 61 is more than organisation `acme` has (60), and could never be reached"
    ),
    # images from the web
    "media: {fetch: 1}": "media.fetch: expected true or false; found the number 1",
    "media: {max_bytes: 1}": "media.max_bytes: expected a whole number of bytes from 1024 (1 KiB)",
    f"organisations: {{acme: {{models: {{deny: [{'a,' * 501}]}}}}}}": (
        "organisations.acme.models.deny: 501 patterns, at most 500 are accepted"
    ),
    "media: {deny: [203.0.113.7]}": "media.deny[0]: expected a network, as in 2600:1f18::/32 or 203.0.113.0/24",
    "media: {deny: [203.0.113.7/24]}": "media.deny[0]: 203.0.113.7/24 has host bits set; write a network",
    "media: {concurrency: 0}": "media.concurrency: expected a whole number from 1 to 1000; found the number 0",
    # pages in browsers
    "cors: {origins: '*'}": "cors.origins: expected a list; found text",
    "cors: {origin: ['*']}": "cors.origin: unknown key, did you mean `origins`?",
    "cors: {origins: ['https://a.test', chat.example.com]}": "cors.origins[1]: expected an origin (scheme",
    "cors: {origins: [https://chat.example.com/]}": "cors.origins[0]: expected an origin (scheme, host and port",
    "cors: {origins: [https://Chat.example.com]}": "cors.origins[0]: expected an origin",
    "cors: {origins: ['https://*.example.com']}": "cors.origins[0]: expected an origin",
    "cors: {origins: ['null']}": "cors.origins[0]: expected an origin",
    "cors: {origins: [https://chat.example.com:443]}": (
        "cors.origins[0]: browsers send this origin without :443; write https://chat.example.com"
    ),
    "cors: {origins: ['*', 'http://[::1]:80']}": "cors.origins[1]: browsers send this origin without :80",
    # capabilities of models
    "capabilities: {acme: {}}": "capabilities: expected a list; found a mapping",
    "capabilities: [acme]": "capabilities[0]: expected a mapping; found text",
    "capabilities: [{match: ['acme.*']}]": "capabilities[0].family: missing; expected a family's name (1 to 64 of",
    "capabilities: [{family: Acme}]": "capabilities[0].family: expected a family's name (1 to 64 of `a-z`",
    "capabilities: [{family: acme, tool: false}]": (
        "capabilities[0].tool: unknown key, did you mean `tools`?; docs/configuration.md has all"
    ),
    "capabilities: [{family: acme, tools: maybe}]": "capabilities[0].tools: expected true or false; found text",
    "capabilities: [{family: acme, match: ['a b']}]": "capabilities[0].match[0]: expected a pattern of foundation",
    "capabilities: [{family: acme, source: ['']}]": "capabilities[0].source[0]: expected a sentence or an address",
    "capabilities: [{family: acme, minimum_budget: 0}]": "capabilities[0].minimum_budget: expected a whole number of",
    "capabilities: [{family: acme, reasoning: much}]": "capabilities[0].reasoning: expected one of `none`, `always`,",
    "capabilities: [{family: acme, efforts: [low, lower]}]": "capabilities[0].efforts[1]: expected one of `minimal`,",
    "capabilities: [{family: acme, effort_path: [1]}]": "capabilities[0].effort_path[0]: expected a key of the",
    "capabilities: [{family: acme}]": "capabilities[0].match: missing; name the foundation ids of the family",
    "capabilities: [{family: acme, match: [a], like: novo}]": (
        "capabilities[0].like: there is no family `novo`, did you mean `nova`?"
    ),
    "capabilities: [{family: nova}, {family: nova}]": "capabilities[1].family: `nova` has a row already",
    "capabilities: [{family: nova, like: nova-2}]": "capabilities[0].like: `nova` would be like itself",
    "capabilities: [{family: nova, reasoning: budget}]": "capabilities[0].minimum_budget: missing; models",
    "capabilities: [{family: claude-3-7, minimum_budget: null}]": "capabilities[0].minimum_budget: missing; models",
    "capabilities: [{family: nova, reasoning: effort}]": "capabilities[0].effort_path: missing; models that",
    "capabilities: [{family: nova, reasoning: nova, effort_path: [additionalModelRequestFields, a]}]": (
        "capabilities[0].efforts: missing; models that reason by `nova` need it"
    ),
    "capabilities: [{family: nova, top_k: [outputConfig, effort]}]": (
        "capabilities[0].top_k: expected `additionalModelRequestFields` and the keys below it"
    ),
    "capabilities: [{family: nova, top_k: [additionalModelRequestFields]}]": (
        "capabilities[0].top_k: expected `additionalModelRequestFields` and the keys below it"
    ),
    "capabilities: [{family: gpt-6, effort_path: [reasoning, effort]}]": (
        "capabilities[0].effort_path: expected `additionalModelRequestFields` and the keys below it"
    ),
    "capabilities: [{family: acme, match: [a], reasoning: adaptive, efforts: [low]}]": (
        "capabilities[0].effort_path: missing; name the path of the effort"
    ),
    "capabilities: [{family: nova-2, efforts: [high, low]}]": (
        "capabilities[0].efforts: write them lowest first, each once: low, high"
    ),
    "capabilities: [{family: nova-2, efforts: [low, low]}]": "capabilities[0].efforts: write them lowest first",
    "capabilities: [{family: acme, match: [a], reasoning_off: effort_none}]": (
        "capabilities[0].effort_path: missing; name the path of the effort"
    ),
    "capabilities: [{family: nova-2, effort_path: [outputConfig, effort]}]": (
        "capabilities[0].effort_path: expected `additionalModelRequestFields`, a key, and one below that"
    ),
    "capabilities: [{family: nova-2, effort_path: [additionalModelRequestFields, effort]}]": (
        "capabilities[0].effort_path: expected `additionalModelRequestFields`, a key, and one below that"
    ),
    # not a mapping, or not YAML
    "": "is empty; write `{}` to run without organisations and tokens",
    "# nothing but a comment\n": "is empty",
    "null": "must be a mapping of keys such as `organisations:` and `tokens:`, not nothing",
    "- a": "must be a mapping of keys such as `organisations:` and `tokens:`, not a list",
    "just words": "must be a mapping of keys",
    "region: us-east-1\n---\nregion: us-west-2": "line 2, column 1: a second document starts here",
    "organisations:\n\tacme: {}": "line 2, column 1: a tab; YAML is indented with spaces",
    "tokens: [": "line 2, column 1: did not find expected node content",
    "a: b: c": "line 1, column 5: mapping values are not allowed in this context",
    "region: *nowhere": "line 1, column 9: found undefined alias",
    "organisations: {acme: {models: {deny: [*premier*]}}}": 'begins with `*` has to be in quotes: "*premier*"',
    "organisations:\n  acme:\n    models:\n      allow:\n        - *.nova-*\n": 'has to be in quotes: "*.nova-*"',
    "organisations: {acme: {models: {allow: [*]}}}": 'has to be in quotes: "*"',
    "region: !!python/object:os.system x": "could not determine a constructor for the tag",
    "region: !!bool perhaps": "holds a value that YAML cannot read",
    "region: " + "1" * 5000: "holds a value that YAML cannot read",
    "region: " + "[" * 3000: "is nested too deeply",
    "- " * 1_000_000: "is nested too deeply",
    "{a: " * 1_000_000: "is nested too deeply",
    "region: \x00": "is not YAML: unacceptable character",
}


@pytest.mark.parametrize("text", REJECTED, ids=lambda text: repr(text)[:60])
def test_a_rejected_document_names_the_fault_and_the_fix(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "here.yaml")
    message = str(caught.value)
    assert message.startswith("here.yaml: ")
    assert REJECTED[text] in message
    assert "\n" not in message


def test_not_utf_8() -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        parse(b"region: \xff\xff")


def test_a_token_in_the_place_of_its_digest_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="found the token itself") as caught:
        parse(b"tokens: [{name: a, sha256: qc_verysecret}]")
    assert "verysecret" not in str(caught.value)


def test_a_mapping_that_contains_itself() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        parse(b"organisations: &a {acme: *a}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organisations: {a: {endpoints: {response: true}}}", "organisations.a.endpoints.response: unknown key, did"),
        ("organisations: {a: {endpoints: 5}}", "organisations.a.endpoints: expected a mapping; found the number 5"),
        ("directory: {dynamodb: {table: x}}", "directory.dynamodb.table: expected the name of a DynamoDB table"),
        ("directory: {}", "directory.dynamodb: missing"),
    ],
)
def test_a_fault_in_a_mapping_that_may_be_left_out_has_its_path(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(text.encode())
