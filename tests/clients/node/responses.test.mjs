// Responses: OpenAI's SDK, and the Vercel AI SDK with OpenAI's own provider, whose `openai(id)` speaks nothing else.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, Output, streamText, tool } from "ai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { all, CLAUDE, client, local, NOVA } from "./fixtures.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false; // that this gateway's models are not OpenAI's

const schema = z.object({
  title: z.string(),
  by: z.enum(["train", "boat"]),
  stops: z.array(z.object({ city: z.string(), nights: z.number().int() })),
});
const JOURNEY = "Plan a journey to Paris for 3 nights.";
const PARIS = { title: "Paris", by: "train", stops: [{ city: "city", nights: 3 }] };
const WEATHER = "What is the weather in Paris?";
const ANSWER = 'get_weather says "18 degrees in Paris".';
const reasoning = { effort: "high", summary: "auto" };

beforeEach(() => local.forget());

const pastKinds = async () => {
  const calls = await local.calls();
  const { content } = calls.at(-1).body.messages.find((message) => message.role === "assistant");
  return content.map((block) => Object.keys(block)[0]);
};

// OpenAI's SDK

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { type: "function", name: "get_weather", parameters, strict: false };

test("create", async () => {
  const response = await client.responses.create({ model: CLAUDE, input: "Hello!", instructions: "Answer in verse." });
  assert.equal(response.output_text, 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."');
  assert.equal(response.status, "completed");
});

test("create streams", async () => {
  const events = await all(await client.responses.create({ model: NOVA, input: "Count to 9.", stream: true }));
  const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.equal(deltas.join(""), "1 2 3 4 5 6 7 8 9");
  assert.ok(deltas.length > 3);
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, number) => number));
  assert.equal(events.at(-1).type, "response.completed");
});

test("parse", async () => {
  for (const model of [CLAUDE, NOVA]) {
    const text = { format: zodTextFormat(schema, "journey") };
    const { output_parsed } = await client.responses.parse({ model, input: JOURNEY, text });
    assert.deepEqual(output_parsed, PARIS);
  }
});

test("stream gives the response that its events make up, and its reasoning comes back", async () => {
  const asked = { model: CLAUDE, tools: [weather], reasoning, include: ["reasoning.encrypted_content"], store: false };
  const input = [{ role: "user", content: WEATHER }];
  const stream = client.responses.stream({ ...asked, input });
  const events = await all(stream);
  const first = await stream.finalResponse();
  assert.deepEqual(events.at(-1).response.output.map((item) => item.type), ["reasoning", "message", "function_call"]);
  const { call_id, arguments: written } = first.output.at(-1);
  assert.deepEqual(JSON.parse(written), { city: "Paris" });
  const result = { type: "function_call_output", call_id, output: "18 degrees" };
  const second = await client.responses.create({ ...asked, input: [...input, ...first.output, result] });
  assert.equal(second.output_text, 'get_weather says "18 degrees".');
  assert.deepEqual(await pastKinds(), ["reasoningContent", "text", "toolUse"]);
});

// The Vercel AI SDK

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const ask = (model, prompt) => ({ model: openai(model), prompt, maxRetries: 0 });
const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `18 degrees in ${city}`,
  }),
};
const stateless = { providerOptions: { openai: { store: false } } };
const loop = (model) => ({ ...ask(model, WEATHER), tools, stopWhen: isStepCount(5), ...stateless });

test("generateText", async () => {
  const { text, usage, finishReason } = await generateText({ ...ask(CLAUDE, "Hello!"), instructions: "In verse." });
  assert.equal(text, 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "In verse."');
  assert.equal(finishReason, "stop");
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
});

test("streamText", async () => {
  const deltas = await all(streamText(ask(NOVA, "Count to 9.")).textStream);
  assert.equal(deltas.join(""), "1 2 3 4 5 6 7 8 9");
  assert.ok(deltas.length > 3);
});

for (const model of [CLAUDE, NOVA]) {
  test(`a loop of tools: ${model}`, async () => {
    const { text, steps } = await generateText(loop(model));
    assert.equal(text, ANSWER);
    assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    assert.deepEqual(steps[0].toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", { city: "Paris" }]]);
  });

  test(`a loop of tools in streams: ${model}`, async () => {
    const result = streamText(loop(model));
    const parts = await all(result.fullStream);
    assert.deepEqual(parts.filter((part) => part.type === "error"), []);
    assert.equal(await result.text, ANSWER);
  });

  test(`an output: ${model}`, async () => {
    const { output } = await generateText({ ...ask(model, JOURNEY), output: Output.object({ schema }) });
    assert.deepEqual(output, PARIS);
  });
}

test("reasoning comes back between the steps", async () => {
  const effort = { forceReasoning: true, reasoningEffort: "high", reasoningSummary: "auto" };
  const asked = { ...loop(CLAUDE), providerOptions: { openai: { store: false, ...effort } } };
  const streamed = streamText(asked);
  await streamed.consumeStream();
  for (const steps of [(await generateText(asked)).steps, await streamed.steps]) {
    assert.match(steps[0].reasoningText, /^Thinking about/);
    assert.equal(steps[1].text, ANSWER);
    assert.deepEqual(await pastKinds(), ["reasoningContent", "text", "toolUse"]);
  }
});

test("an image", async () => {
  const data = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");
  const content = [{ type: "text", text: "What is it?" }, { type: "file", mediaType: "image/gif", data }];
  const { text } = await generateText({ model: openai(CLAUDE), messages: [{ role: "user", content }] });
  assert.match(text, /1 image/);
});

test("a second step that refers to stored items is rejected, with what to do", async () => {
  const { providerOptions, ...stored } = loop(CLAUDE);
  await assert.rejects(generateText(stored), (error) => {
    assert.equal(error.statusCode, 400);
    assert.match(error.message, /'store': false/);
    return true;
  });
});

test("a failure inside a stream is an error", async () => {
  const failing = ask(NOVA, "Count to 9. [[local: exception=modelStreamErrorException after=3]]");
  const parts = await all(streamText({ ...failing, onError() {} }).fullStream);
  const [failed] = parts.filter((part) => part.type === "error");
  assert.match(JSON.stringify(failed.error.message ?? failed.error), /modelStreamErrorException was ordered/);
  assert.equal(parts.at(-1).finishReason, "error");
});
