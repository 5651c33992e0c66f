import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { all, CLAUDE, client, clock, content, local, NOVA, say, weather } from "./fixtures.mjs";

beforeEach(() => local.forget());

const QUESTION = say("What is the weather in Paris?");

test("a buffered answer has everything", async () => {
  const answer = await client.chat.completions.create({ model: CLAUDE, messages: say("Hello!") });
  assert.match(answer.id, /^chatcmpl-/);
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.model, CLAUDE);
  assert.equal(answer.choices.length, 1);
  const [choice] = answer.choices;
  assert.equal(choice.index, 0);
  assert.equal(choice.finish_reason, "stop");
  assert.equal(choice.logprobs, null);
  assert.equal(choice.message.role, "assistant");
  assert.equal(choice.message.refusal, null);
  assert.match(choice.message.content, /You said: "Hello!"/);
  assert.ok(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens > 0);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("the request id is on the answer and in its headers", async () => {
  const { data, response } = await client.chat.completions
    .create({ model: NOVA, messages: say("Hello!"), seed: 1, store: true })
    .withResponse();
  assert.ok(data._request_id);
  assert.equal(response.headers.get("x-request-id"), data._request_id);
  assert.equal(response.headers.get("openai-organization"), "acme");
  assert.deepEqual(response.headers.get("x-oai-ignored-params").split(", ").sort(), ["seed", "store"]);
});

test("the raw response", async () => {
  const response = await client.chat.completions.create({ model: NOVA, messages: say("Hello!") }).asResponse();
  assert.equal(response.status, 200);
  assert.equal((await response.json()).object, "chat.completion");
});

test("an image as a data URL", async () => {
  const gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
  const parts = [
    { type: "text", text: "What is it?" },
    { type: "image_url", image_url: { url: `data:image/gif;base64,${gif}` } },
  ];
  const answer = await client.chat.completions.create({ model: CLAUDE, messages: say(parts) });
  assert.match(answer.choices[0].message.content, /1 image/);
});

test("stop sequences and the token limit", async () => {
  const asked = { model: NOVA, messages: say("Count to 50.") };
  const stopped = await client.chat.completions.create({ ...asked, stop: ["4"] });
  assert.equal(stopped.choices[0].message.content.trim(), "1 2 3");
  assert.equal(stopped.choices[0].finish_reason, "stop");
  const cut = await client.chat.completions.create({ ...asked, max_completion_tokens: 8 });
  assert.equal(cut.choices[0].finish_reason, "length");
});

test("a tool is called, its result is read", async () => {
  const first = await client.chat.completions.create({ model: CLAUDE, messages: QUESTION, tools: [weather] });
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const { message } = first.choices[0];
  const [call] = message.tool_calls;
  assert.equal(call.type, "function");
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  const result = { role: "tool", tool_call_id: call.id, content: "18 degrees" };
  const second = await client.chat.completions.create({
    model: CLAUDE,
    messages: [...QUESTION, message, result],
    tools: [weather],
  });
  assert.equal(second.choices[0].message.content, 'get_weather says "18 degrees".');
  assert.equal(second.choices[0].finish_reason, "stop");
});

test("several tools are called at once", async () => {
  const answer = await client.chat.completions.create({
    model: CLAUDE,
    messages: say("What are the weather and the time in Paris?"),
    tools: [weather, clock],
  });
  const called = answer.choices[0].message.tool_calls.map((call) => [call.function.name, call.function.arguments]);
  assert.deepEqual(called.map(([name]) => name), ["get_weather", "get_time"]);
  assert.deepEqual(called.map(([, given]) => JSON.parse(given)), [{ city: "Paris" }, {}]);
});

test("tool choices: a named tool, some tool, none", async () => {
  const asked = { model: CLAUDE, messages: say("Hello!"), tools: [weather, clock] };
  const named = { type: "function", function: { name: "get_time" } };
  const forced = await client.chat.completions.create({ ...asked, tool_choice: named });
  assert.equal(forced.choices[0].message.tool_calls[0].function.name, "get_time");
  assert.equal(forced.choices[0].finish_reason, "tool_calls");
  const some = await client.chat.completions.create({ ...asked, tool_choice: "required" });
  assert.equal(some.choices[0].message.tool_calls.length, 1);
  await local.forget();
  const none = await client.chat.completions.create({ ...asked, messages: QUESTION, tool_choice: "none" });
  assert.equal(none.choices[0].message.tool_calls, undefined);
  assert.ok(!("toolConfig" in (await local.call()).body));
});

test("runTools goes through the whole conversation", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: CLAUDE,
    messages: say("What is the weather in Paris?"),
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          parse: JSON.parse,
          parameters: weather.function.parameters,
          function: ({ city }) => {
            asked.push(city);
            return "18 degrees";
          },
        },
      },
    ],
  });
  assert.equal(await runner.finalContent(), 'get_weather says "18 degrees".');
  assert.deepEqual(asked, ["Paris"]);
});

const Journey = z.object({
  title: z.string(),
  by: z.enum(["train", "boat"]),
  stops: z.array(z.object({ city: z.string(), nights: z.number().int() })),
});

test("parse gives what zod describes", async () => {
  const answer = await client.chat.completions.parse({
    model: CLAUDE,
    messages: say("Plan a journey to Paris for 3 nights."),
    response_format: zodResponseFormat(Journey, "journey"),
  });
  const { parsed, content, tool_calls: called } = answer.choices[0].message;
  assert.equal(parsed.by, "train");
  assert.equal(parsed.stops[0].nights, 3);
  assert.deepEqual(JSON.parse(content), parsed);
  assert.ok(!called?.length);
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("parse gives the arguments of a strict tool", async () => {
  const answer = await client.chat.completions.parse({
    model: CLAUDE,
    messages: say("Book a hotel in Paris for 3 nights."),
    tools: [zodFunction({ name: "book_hotel", parameters: z.object({ city: z.string(), nights: z.number() }) })],
  });
  assert.deepEqual(answer.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Paris", nights: 3 });
});

test("the stream helper parses", async () => {
  const stream = client.chat.completions.stream({
    model: NOVA,
    messages: say("Plan a journey to Paris for 3 nights."),
    response_format: zodResponseFormat(Journey, "journey"),
  });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.parsed.by, "train");
  assert.equal(final.choices[0].finish_reason, "stop");
});

test("json_object", async () => {
  const asked = { model: CLAUDE, messages: say("Hello!"), response_format: { type: "json_object" } };
  const answer = await client.chat.completions.create(asked);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.match(JSON.parse(answer.choices[0].message.content).answer, /^You said: "Hello!"/);
  assert.match((await local.call()).body.system[0].text, /JSON object/);
  const chunks = await all(await client.chat.completions.create({ ...asked, stream: true }));
  assert.equal(content(chunks), answer.choices[0].message.content);
});

test("more than one choice is refused by name", async () => {
  await assert.rejects(client.chat.completions.create({ model: NOVA, messages: say("Hello!"), n: 2 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "n");
    return true;
  });
  assert.deepEqual(await local.calls(), []);
});

test("several answers at the same time", async () => {
  const asked = Array.from({ length: 20 }, (_, number) => `number ${number}`);
  const answers = await Promise.all(
    asked.map((text) => client.chat.completions.create({ model: NOVA, messages: say(text) })),
  );
  answers.forEach((answer, number) => assert.ok(answer.choices[0].message.content.includes(`"number ${number}"`)));
  const streams = await Promise.all(
    asked.map((text) => client.chat.completions.create({ model: NOVA, messages: say(text), stream: true })),
  );
  const said = await Promise.all(streams.map(all));
  assert.equal(new Set(said.map((chunks) => chunks[0].id)).size, asked.length);
});
