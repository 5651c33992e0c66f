"""Converse by boto3: responses, stop reasons and usage."""

import json

import pytest


def text(response):
    return "".join(block["text"] for block in response["output"]["message"]["content"] if "text" in block)


def uses(response):
    return [block["toolUse"] for block in response["output"]["message"]["content"] if "toolUse" in block]


def test_it_echoes_and_counts_the_request(local, wire):
    response = local.runtime.converse(
        modelId=wire.nova,
        system=[{"text": "Be brief."}],
        messages=[wire.user("hi"), wire.assistant("yes?"), wire.user("hello", "you")],
    )
    assert text(response) == 'You said: "hello you" (2 text blocks, 0 images, 3 turns). System: "Be brief."'
    assert response["stopReason"] == "end_turn"
    assert response["output"]["message"]["role"] == "assistant"
    assert response["metrics"]["latencyMs"] >= 1


def test_it_counts_images_and_documents(local, wire):
    png = {"format": "png", "source": {"bytes": b"\x89PNG\r\n\x1a\n..."}}
    pdf = {"format": "pdf", "name": "A report (1)", "source": {"bytes": b"%PDF-1.7"}}
    message = wire.user("look", image=png, document=pdf)
    response = local.runtime.converse(modelId=wire.nova, messages=[message])
    assert text(response) == 'You said: "look" (1 text block, 1 image, 1 document, 1 turn).'


def test_the_same_prompt_has_the_same_response(converse):
    first, second = converse("count to 12"), converse("count to 12")
    assert text(first) == "1 2 3 4 5 6 7 8 9 10 11 12"
    for response in (first, second):
        del response["ResponseMetadata"]
    assert first == second


def test_usage_adds_up_and_includes_the_cache(converse):
    usage = converse("hello [[local: cacheread=100 cachewrite=20]]")["usage"]
    assert usage["cacheReadInputTokens"] == 100
    assert usage["cacheWriteInputTokens"] == 20
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] + 120
    assert "cacheReadInputTokens" not in converse("hello", model="openai.gpt-oss-20b-1:0")["usage"]


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("us.anthropic.claude-sonnet-4-6", True),
        ("global.anthropic.claude-sonnet-4-6", True),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0", True),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6", True),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6", True),
        ("eu.anthropic.claude-sonnet-4-6", False),
        ("a1b2c3d4e5f6", False),
        ("anthropic.claude-9", False),
        ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-micro-v1:0", False),
    ],
)
def test_ids_and_arns(local, wire, rejected, model, served):
    call = {"modelId": model, "messages": [wire.user("hello")]}
    if served:
        assert text(local.runtime.converse(**call)).startswith('You said: "hello"')
    else:
        expected = (400, "ValidationException", "The provided model identifier is invalid.")
        assert rejected(local.runtime.converse, **call) == expected


@pytest.mark.parametrize("model", ["anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0:24k"])
def test_on_demand_is_rejected_in_awss_words(local, wire, rejected, model):
    status, name, message = rejected(local.runtime.converse, modelId=model, messages=[wire.user("hello")])
    assert (status, name) == (400, "ValidationException")
    assert message == (
        f"Invocation of model ID {model} with on-demand throughput isn\u2019t supported. Retry your request with the "
        "ID or ARN of an inference profile that contains this model."
    )


@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v2:0", "amazon.nova-canvas-v1:0"])
def test_models_without_converse_are_rejected(local, wire, rejected, model):
    _, name, message = rejected(local.runtime.converse, modelId=model, messages=[wire.user("hello")])
    assert name == "ValidationException"
    assert message.startswith("This action doesn't support the model that you provided.")


# --- tools -----------------------------------------------------------------------------------------------------------


def test_a_named_tool_is_called_and_its_result_quoted(local, wire):
    tools = {"tools": [wire.tool("get_weather", city={"type": "string"})]}
    messages = [wire.user("What is the weather in New York?")]
    calling = local.runtime.converse(modelId=wire.claude, messages=messages, toolConfig=tools)
    assert calling["stopReason"] == "tool_use"
    assert text(calling) == "Calling get_weather."
    (call,) = uses(calling)
    assert call["input"] == {"city": "New York"}
    messages += [calling["output"]["message"], wire.user(toolResult=wire.result(call["toolUseId"]))]
    finished = local.runtime.converse(modelId=wire.claude, messages=messages, toolConfig=tools)
    assert finished["stopReason"] == "end_turn"
    assert text(finished) == 'get_weather says "18 degrees".'


def test_two_named_tools_are_called_at_once(local, wire):
    tools = {"tools": [wire.tool("get_weather"), wire.tool("get_time"), wire.tool("send_mail")]}
    call = {"modelId": wire.claude, "messages": [wire.user("weather and time, please")], "toolConfig": tools}
    assert [use["name"] for use in uses(local.runtime.converse(**call))] == ["get_weather", "get_time"]
    alone = local.runtime.converse(
        **call, additionalModelRequestFields={"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    )
    assert [use["name"] for use in uses(alone)] == ["get_weather"]


def test_parallel_results_are_quoted_in_order(local, wire):
    tools = {"tools": [wire.tool("get_weather"), wire.tool("get_time")]}
    calls = {"role": "assistant", "content": [{"toolUse": wire.use("a")}, {"toolUse": wire.use("b", "get_time")}]}
    failed = {"toolUseId": "b", "content": [{"json": {"code": 7}}], "status": "error"}
    results = {"role": "user", "content": [{"toolResult": wire.result("a")}, {"toolResult": failed}]}
    response = local.runtime.converse(
        modelId=wire.claude, messages=[wire.user("both"), calls, results], toolConfig=tools
    )
    assert text(response) == 'get_weather says "18 degrees". get_time failed with "{"code": 7}".'


@pytest.mark.parametrize(("choice", "name"), [({"any": {}}, "first"), ({"tool": {"name": "second"}}, "second")])
def test_a_demanded_tool_is_called_without_a_word(local, wire, choice, name):
    tools = {"tools": [wire.tool("first"), wire.tool("second")], "toolChoice": choice}
    response = local.runtime.converse(modelId=wire.claude, messages=[wire.user("hello")], toolConfig=tools)
    assert [use["name"] for use in uses(response)] == [name]
    assert text(response) == ""


def test_a_demand_for_any_tool_is_met_by_one_that_was_not_called_yet(local, wire):
    def called(*messages):
        response = local.runtime.converse(modelId=wire.claude, messages=list(messages), toolConfig=tools)
        return [use["name"] for use in uses(response)]

    specifications = [wire.tool(name) for name in ("first", "second", "third")]
    tools = {"tools": specifications, "toolChoice": {"any": {}}}
    turns = [wire.user("hello"), wire.assistant(toolUse=wire.use("a", "first")), wire.user(toolResult=wire.result("a"))]
    assert called(*turns) == ["second"]
    results = wire.user("Think of the first.", toolResult=wire.result("a"))
    results["content"].reverse()
    assert called(*turns[:2], results) == ["second"]
    turns += [wire.assistant(toolUse=wire.use("b", "second")), wire.user(toolResult=wire.result("b"))]
    assert called(*turns) == ["third"]
    turns += [wire.assistant(toolUse=wire.use("c", "third")), wire.user(toolResult=wire.result("c"))]
    assert called(*turns) == ["first"]
    assert called(*turns, wire.assistant("Well."), wire.user("hello again")) == ["first"]


def test_no_tool_is_called_when_none_is_named(local, wire):
    tools = {"tools": [wire.tool("get_weather")]}
    response = local.runtime.converse(modelId=wire.claude, messages=[wire.user("hello")], toolConfig=tools)
    assert uses(response) == []
    assert response["stopReason"] == "end_turn"


def test_structured_output_is_json_of_the_schema(converse, wire):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    structure = {"jsonSchema": {"name": "person", "schema": json.dumps(schema)}}
    config = {"textFormat": {"type": "json_schema", "structure": structure}}
    response = converse("My friend Ada is 36", model=wire.claude, outputConfig=config)
    assert json.loads(text(response)) == {"name": "Ada", "age": 36}


def test_json_by_instructions(converse):
    response = converse("hello", system=[{"text": "Be kind."}, {"text": "Answer with a JSON object."}])
    assert json.loads(text(response))["answer"].startswith('You said: "hello"')
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    instructions = (
        f"Answer with a JSON object. It must be valid against this JSON Schema:\n{json.dumps(schema)}\nThat is all."
    )
    assert json.loads(text(converse("My friend is Ada", system=[{"text": instructions}]))) == {"name": "Ada"}
    for odd in ('{"$ref": "#/nowhere"}', '{"type": 7}', '{"type": ', '{"a":' * 9000):
        odd_instructions = instructions.replace('{"type": "string"}', odd)
        assert json.loads(text(converse("hello", system=[{"text": odd_instructions}]))).keys() == {"answer"}


@pytest.mark.parametrize(
    ("instructions", "keys"),
    [
        ("Answer with a JSON object with the keys name and age.", ["name", "age"]),
        ("Reply as a JSON object. Keys: `city`, `population`.", ["city", "population"]),
        ('A JSON object with fields "first name", "last name" and "age", please.', ["first name", "last name", "age"]),
        ("A JSON object with these fields:\n- title\n- summary\nNothing else.", ["title", "summary"]),
        ('A JSON object such as {"sum": 3, "ok": true, "tags": ["a"]}.', ["sum", "ok", "tags"]),
        ("A JSON object; the keys are in English.", ["answer"]),
        ("A JSON object. { is no example.", ["answer"]),
    ],
)
def test_json_with_the_keys_that_the_instructions_name(converse, instructions, keys):
    response = converse("My friend Ada is 36", system=[{"text": instructions}])
    assert list(json.loads(text(response))) == keys


def test_json_with_the_keys_that_the_user_names(converse):
    response = converse("Return the keys name and mood.", system=[{"text": "Answer with a JSON object."}])
    assert list(json.loads(text(response))) == ["name", "mood"]


def test_no_text_beside_a_call_if_all_text_is_json(local, wire):
    structure = {"jsonSchema": {"schema": '{"type": "object", "properties": {}, "additionalProperties": false}'}}
    response = local.runtime.converse(
        modelId=wire.claude,
        messages=[wire.user("the weather, please")],
        toolConfig={"tools": [wire.tool("get_weather")]},
        outputConfig={"textFormat": {"type": "json_schema", "structure": structure}},
    )
    assert [list(block) for block in response["output"]["message"]["content"]] == [["toolUse"]]


# --- where it ends ---------------------------------------------------------------------------------------------------


def test_max_tokens_cuts(converse):
    response = converse("count to 100", inferenceConfig={"maxTokens": 7})
    assert text(response) == "1 2 3 4 5 6 7"
    assert response["stopReason"] == "max_tokens"
    assert response["usage"]["outputTokens"] == 7


def test_a_response_of_just_the_limit_is_whole(converse):
    assert converse("count to 7", inferenceConfig={"maxTokens": 7})["stopReason"] == "end_turn"


def test_max_tokens_cuts_a_tool_call(local, wire):
    tools = {"tools": [wire.tool("get_weather", city={"type": "string"})], "toolChoice": {"any": {}}}
    response = local.runtime.converse(
        modelId=wire.claude,
        messages=[wire.user("the weather in Llanfairpwllgwyngyllgogerychwyrndrobwll")],
        toolConfig=tools,
        inferenceConfig={"maxTokens": 4},
    )
    assert response["stopReason"] == "max_tokens"
    assert [use["input"] for use in uses(response)] == [{}]


def test_a_stop_sequence_stops_and_is_reported(converse):
    response = converse(
        "count to 9",
        inferenceConfig={"stopSequences": ["7", " 4"]},
        additionalModelResponseFieldPaths=["/stop_sequence"],
    )
    assert text(response) == "1 2 3"
    assert response["stopReason"] == "stop_sequence"
    assert response["additionalModelResponseFields"] == {"stop_sequence": " 4"}


def test_the_tokens_of_thinking_are_reported_where_the_model_counts_them(converse, wire):
    asked = {
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        "additionalModelResponseFieldPaths": ["/usage/output_tokens_details", "/usage/other"],
    }
    response = converse("hello", model=wire.claude, **asked)
    thought = response["additionalModelResponseFields"]["usage"]["output_tokens_details"]["thinking_tokens"]
    assert 0 < thought < response["usage"]["outputTokens"]
    assert "additionalModelResponseFields" not in converse(
        "hello", additionalModelResponseFieldPaths=["/usage/output_tokens_details"]
    )


def test_thinking_comes_first(converse, wire):
    fields = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    response = converse("hello", model=wire.claude, additionalModelRequestFields=fields)
    first = response["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]
    assert first["text"] == 'Thinking about "hello".'
    assert first["signature"]


# --- orders ----------------------------------------------------------------------------------------------------------


def test_an_ordered_stop_reason(converse):
    response = converse("hello [[local: stop=guardrail_intervened]]")
    assert response["stopReason"] == "guardrail_intervened"
    assert '"hello"' in text(response)


def test_ordered_reasoning_and_several_texts(converse):
    content = converse('count to 6 [[local: reasoning="Let me see" texts=3]]')["output"]["message"]["content"]
    assert content[0]["reasoningContent"]["reasoningText"]["text"] == "Let me see"
    assert [block["text"] for block in content[1:]] == ["1 2", " 3 4", " 5 6"]


def test_an_empty_response(converse):
    assert converse("hello [[local: empty]]")["output"]["message"]["content"] == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("status=429", (429, "ThrottlingException", "ThrottlingException was ordered.")),
        ("status=503 message=Later", (503, "ServiceUnavailableException", "Later")),
        (
            'status=400 type=ServiceQuotaExceededException message="Too many tokens"',
            (400, "ServiceQuotaExceededException", "Too many tokens"),
        ),
        ("status=424", (424, "ModelErrorException", "ModelErrorException was ordered.")),
    ],
)
@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
def test_ordered_errors(local, wire, rejected, operation, order, expected):
    call = {"modelId": wire.nova, "messages": [wire.user(f"hello [[local: {order}]]")]}
    assert rejected(getattr(local.runtime, operation), **call) == expected


@pytest.mark.parametrize(
    "order", ["colour=red", "after=soon", "stop=now", "status=200", "status=x", "hold=maybe", "=1"]
)
def test_invalid_orders(local, wire, rejected, order):
    status, name, message = rejected(
        local.runtime.converse, modelId=wire.nova, messages=[wire.user(f"hi [[local: {order}]]")]
    )
    assert (status, name) == (400, "ValidationException")
    assert message.startswith("bedrock_local ")


def test_tier_and_latency_class_are_reported_back(converse):
    settings = {"serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}}
    response = converse("hello", model="amazon.nova-pro-v1:0", **settings)
    assert response["serviceTier"] == {"type": "flex"}
    assert response["performanceConfig"] == {"latency": "optimized"}
