import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import OpenAI from "openai";
import { all, CLAUDE, client, clock, content, local, NOVA, say, weather } from "./fixtures.mjs";

beforeEach(() => local.forget());
afterEach(() => local.release());

test("chunks one after the other", async () => {
  const chunks = await all(
    await client.chat.completions.create({ model: NOVA, messages: say("Count to 9."), stream: true }),
  );
  assert.equal(content(chunks), "1 2 3 4 5 6 7 8 9");
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  assert.match(chunks[0].id, /^chatcmpl-/);
  assert.ok(chunks.every((chunk) => chunk.object === "chat.completion.chunk" && chunk.model === NOVA));
  assert.ok(chunks.filter((chunk) => chunk.choices[0].delta.content).length > 3);
  assert.deepEqual(chunks.flatMap((chunk) => chunk.choices[0].delta.role ?? []), ["assistant"]);
  assert.deepEqual(chunks.flatMap((chunk) => chunk.choices[0].finish_reason ?? []), ["stop"]);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.ok(chunks.every((chunk) => !chunk.usage));
});

test("usage comes last and alone", async () => {
  const chunks = await all(
    await client.chat.completions.create({
      model: NOVA,
      messages: say("Count to 9."),
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.total_tokens, last.usage.prompt_tokens + last.usage.completion_tokens);
  assert.ok(chunks.every((chunk) => chunk.usage === null));
});

test("the helper tells events and builds the completion", async () => {
  const stream = client.chat.completions.stream({
    model: NOVA,
    messages: say("Count to 9."),
    stream_options: { include_usage: true },
  });
  const deltas = [];
  stream.on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal(deltas.join(""), "1 2 3 4 5 6 7 8 9");
  assert.equal(final.choices[0].message.content, "1 2 3 4 5 6 7 8 9");
  assert.equal(final.choices[0].message.role, "assistant");
  assert.equal(final.choices[0].finish_reason, "stop");
  assert.ok(final.usage.total_tokens > 0);
});

test("streamed tool calls accumulate to JSON", async () => {
  const stream = client.chat.completions.stream({
    model: CLAUDE,
    messages: say("What are the weather and the time in Paris?"),
    tools: [weather, clock],
  });
  const final = await stream.finalChatCompletion();
  const called = final.choices[0].message.tool_calls;
  assert.deepEqual(called.map((call) => [call.type, call.function.name]), [
    ["function", "get_weather"],
    ["function", "get_time"],
  ]);
  assert.deepEqual(JSON.parse(called[0].function.arguments), { city: "Paris" });
  assert.equal(called[1].function.arguments, "{}");
  assert.equal(final.choices[0].finish_reason, "tool_calls");
});

test("runTools streams through the whole conversation", async () => {
  const runner = client.chat.completions.runTools({
    model: NOVA,
    stream: true,
    messages: say("What is the weather in Paris?"),
    tools: [
      {
        type: "function",
        function: { name: "get_weather", parameters: weather.function.parameters, function: () => "18 degrees" },
      },
    ],
  });
  assert.equal(await runner.finalContent(), 'get_weather says "18 degrees".');
});

test("a stream that was cut short says length", async () => {
  const chunks = await all(
    await client.chat.completions.create({ model: NOVA, messages: say("Count to 50."), max_tokens: 8, stream: true }),
  );
  assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
});

test("the first token arrives while the model is still producing", async () => {
  const stream = await client.chat.completions.create({
    model: NOVA,
    messages: say("Count to 9. [[local: hold=1]]"),
    stream: true,
  });
  const read = [];
  for await (const chunk of stream) {
    read.push(chunk);
    if (content(read) === "1") {
      assert.equal((await local.call()).state, "running");
      await local.release();
    }
  }
  assert.equal(content(read), "1 2 3 4 5 6 7 8 9");
});

test("a client that reads to the end aborts nothing", async () => {
  await all(await client.chat.completions.create({ model: NOVA, messages: say("Count to 9."), stream: true }));
  assert.equal((await local.call()).state, "finished");
});

test("a client that leaves ends the call to the model", async () => {
  const stream = await client.chat.completions.create({
    model: NOVA,
    messages: say("Count to 9. [[local: hold=1]]"),
    stream: true,
  });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  await local.waitFor("aborted");
});

test("an aborted helper ends the call to the model", async () => {
  const stream = client.chat.completions.stream({ model: NOVA, messages: say("Count to 9. [[local: hold=1]]") });
  stream.on("content", () => stream.abort());
  await assert.rejects(stream.done(), OpenAI.APIUserAbortError);
  await local.waitFor("aborted");
});

for (const [order, code] of [
  ["exception=modelStreamErrorException after=3", "model_error"],
  ["error=internalFailure after=3", "bedrock_error"],
]) {
  test(`a failure inside a stream is thrown: ${order}`, async () => {
    const stream = await client.chat.completions.create({
      model: NOVA,
      messages: say(`Count to 9. [[local: ${order}]]`),
      stream: true,
    });
    const read = [];
    await assert.rejects(
      async () => {
        for await (const chunk of stream) read.push(chunk);
      },
      (error) => {
        assert.ok(error instanceof OpenAI.APIError);
        assert.equal(error.code, code);
        return true;
      },
    );
    assert.match(content(read), /^1/);
  });
}

test("a failure inside a stream is thrown by the helper", async () => {
  const order = "exception=modelStreamErrorException after=3";
  const stream = client.chat.completions.stream({ model: NOVA, messages: say(`Count to 9. [[local: ${order}]]`) });
  await assert.rejects(stream.finalChatCompletion(), (error) => error.code === "model_error");
});

test("a cut connection is no silent end", async () => {
  const read = [];
  // What is on its way when the connection breaks may be lost: so it breaks once the first word has been read.
  const held = { model: NOVA, messages: say("Count to 9. [[local: cut after=3 hold=1]]"), stream: true };
  await assert.rejects(async () => {
    for await (const chunk of await client.chat.completions.create(held)) {
      read.push(chunk);
      if (content([chunk]) === "1") await local.release();
    }
  });
  assert.match(content(read), /^1/);
  const asked = { model: NOVA, messages: say("Count to 9. [[local: cut after=3]]") };
  await assert.rejects(client.chat.completions.stream(asked).finalChatCompletion());
});

test("a failure before the first word is a status", async () => {
  const order = "exception=throttlingException after=0";
  const asked = { model: NOVA, messages: say(`Hello! [[local: ${order}]]`), stream: true };
  await assert.rejects(client.chat.completions.create(asked), OpenAI.RateLimitError);
});
