// The Vercel AI SDK (`ai`) with its provider for APIs like OpenAI's: it parses answers and streams by itself.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany, generateObject, generateText, streamObject, streamText } from "ai";
import { isStepCount, Output, tool } from "ai";
import { z } from "zod";
import { all, CLAUDE, client, local, NOVA } from "./fixtures.mjs";

const TITAN = "amazon.titan-embed-text-v2:0";
const COHERE = "cohere.embed-english-v3";

globalThis.AI_SDK_LOG_WARNINGS = false; // that generateObject is deprecated: it is what programs have

const provider = createOpenAICompatible({
  name: "gateway",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const ask = (model, prompt) => ({ model: provider(model), prompt, maxRetries: 0 });

const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `18 degrees in ${city}`,
  }),
  get_time: tool({ description: "The time.", inputSchema: z.object({}), execute: async () => "noon" }),
};
const WEATHER_AND_TIME = "What are the weather and the time in Paris?";

const schema = z.object({
  title: z.string(),
  by: z.enum(["train", "boat"]),
  stops: z.array(z.object({ city: z.string(), nights: z.number().int() })),
});
const JOURNEY = "Plan a journey to Paris for 3 nights.";
const PARIS = { title: "Paris", by: "train", stops: [{ city: "city", nights: 3 }] };

beforeEach(() => local.forget());
afterEach(() => local.release());

test("generateText", async () => {
  const { text, finishReason, usage, response } = await generateText({
    ...ask(CLAUDE, "Hello!"),
    instructions: "Answer in verse.",
  });
  assert.equal(text, 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."');
  assert.equal(finishReason, "stop");
  assert.match(response.id, /^chatcmpl-/);
  assert.equal(response.modelId, CLAUDE);
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
});

test("generateText with a conversation and an image", async () => {
  const gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
  const look = [
    { type: "text", text: "What is it?" },
    { type: "file", mediaType: "image/gif", data: Buffer.from(gif, "base64") },
  ];
  const messages = [
    { role: "user", content: "Hello!" },
    { role: "assistant", content: "Hello." },
    { role: "user", content: look },
  ];
  const { text } = await generateText({ model: provider(CLAUDE), messages });
  assert.equal(text, 'You said: "What is it?" (1 text block, 1 image, 3 turns).');
});

test("generateText with a document", async () => {
  const data = Buffer.from("%PDF-1.4\n%%EOF\n");
  const read = [{ type: "text", text: "What is it?" }, { type: "file", mediaType: "application/pdf", data }];
  const { text } = await generateText({ model: provider(CLAUDE), messages: [{ role: "user", content: read }] });
  assert.match(text, /1 document/);
});

test("generateText passes its settings on", async () => {
  const settings = { maxOutputTokens: 8, temperature: 0.5, topP: 0.25, stopSequences: ["END"] };
  const { finishReason } = await generateText({ ...ask(NOVA, "Count to 50."), ...settings });
  assert.equal(finishReason, "length");
  assert.deepEqual((await local.call()).body, {
    messages: [{ role: "user", content: [{ text: "Count to 50." }] }],
    inferenceConfig: { temperature: 0.5, topP: 0.25, maxTokens: 8, stopSequences: ["END"] },
  });
});

test("generateText tells the reasoning from the text", async () => {
  const { reasoningText, text } = await generateText(ask(CLAUDE, 'Hello! [[local: reasoning="They greet."]]'));
  assert.equal(reasoningText, "They greet.");
  assert.match(text, /^You said: "Hello!"/);
});

test("streamText", async () => {
  const result = streamText(ask(NOVA, "Count to 9."));
  const deltas = await all(result.textStream);
  assert.equal(deltas.join(""), "1 2 3 4 5 6 7 8 9");
  assert.ok(deltas.length > 3);
  assert.equal(await result.finishReason, "stop");
  const buffered = await generateText(ask(NOVA, "Count to 9."));
  assert.deepEqual(await result.usage, buffered.usage);
});

test("streamText tells the reasoning from the text", async () => {
  const parts = await all(streamText(ask(CLAUDE, 'Hello! [[local: reasoning="They greet."]]')).fullStream);
  const said = (type) => parts.filter((part) => part.type === type).map((part) => part.text).join("");
  assert.equal(said("reasoning-delta"), "They greet.");
  assert.match(said("text-delta"), /^You said: "Hello!"/);
});

test("streamText gives the first words while the model is still producing", async () => {
  const read = [];
  for await (const delta of streamText(ask(NOVA, "Count to 9. [[local: hold=1]]")).textStream) {
    read.push(delta);
    if (read.join("") === "1") {
      assert.equal((await local.call()).state, "running");
      await local.release();
    }
  }
  assert.equal(read.join(""), "1 2 3 4 5 6 7 8 9");
});

test("streamText that is read to its end aborts nothing", async () => {
  await all(streamText(ask(NOVA, "Count to 9.")).textStream);
  assert.equal((await local.call()).state, "finished");
});

test("streamText that is aborted ends the call to the model", async () => {
  const abort = new AbortController();
  const { fullStream } = streamText({ ...ask(NOVA, "Count to 9. [[local: hold=1]]"), abortSignal: abort.signal });
  for await (const part of fullStream) if (part.type === "text-delta") abort.abort();
  await local.waitFor("aborted");
});

for (const model of [CLAUDE, NOVA]) {
  test(`tools in several steps: ${model}`, async () => {
    const { text, steps } = await generateText({ ...ask(model, WEATHER_AND_TIME), tools, stopWhen: isStepCount(5) });
    assert.equal(text, 'get_weather says "18 degrees in Paris". get_time says "noon".');
    assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    assert.deepEqual(steps[0].toolCalls.map((call) => [call.toolName, call.input]), [
      ["get_weather", { city: "Paris" }],
      ["get_time", {}],
    ]);
    assert.deepEqual(steps[0].toolResults.map((result) => result.output), ["18 degrees in Paris", "noon"]);
  });

  test(`tools in several streamed steps: ${model}`, async () => {
    const result = streamText({ ...ask(model, WEATHER_AND_TIME), tools, stopWhen: isStepCount(5) });
    const parts = await all(result.fullStream);
    assert.deepEqual(parts.filter((part) => part.type === "error"), []);
    assert.deepEqual(parts.filter((part) => part.type === "tool-call").map((call) => [call.toolName, call.input]), [
      ["get_weather", { city: "Paris" }],
      ["get_time", {}],
    ]);
    assert.equal(await result.text, 'get_weather says "18 degrees in Paris". get_time says "noon".');
    assert.deepEqual((await result.steps).map((step) => step.finishReason), ["tool-calls", "stop"]);
  });

  test(`generateObject: ${model}`, async () => {
    const { object, finishReason } = await generateObject({ ...ask(model, JOURNEY), schema });
    assert.deepEqual(object, PARIS);
    assert.equal(finishReason, "stop");
  });

  test(`streamObject: ${model}`, async () => {
    const result = streamObject({ ...ask(model, JOURNEY), schema });
    const partial = await all(result.partialObjectStream);
    assert.ok(partial.length > 1);
    assert.deepEqual(await result.object, PARIS);
  });

  test(`generateText with an output: ${model}`, async () => {
    const output = Output.object({ schema, name: "journey" });
    assert.deepEqual((await generateText({ ...ask(model, JOURNEY), output })).output, PARIS);
  });

  test(`an output after tools: ${model}`, async () => {
    const { get_weather } = tools;
    const weather = { ...ask(model, "What is the weather in Paris?"), tools: { get_weather } };
    const asked = { ...weather, stopWhen: isStepCount(5) };
    const { output, steps } = await generateText({ ...asked, output: Output.object({ schema }) });
    assert.ok(schema.safeParse(output).success);
    assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    const streamed = streamText({ ...asked, output: Output.object({ schema }) });
    assert.ok((await all(streamed.partialOutputStream)).length > 1);
    assert.deepEqual(await streamed.output, output);
  });
}

test("reasoning in several steps with tools", async () => {
  const asked = { ...ask(CLAUDE, WEATHER_AND_TIME), tools, stopWhen: isStepCount(5) };
  const thinking = { ...asked, providerOptions: { gateway: { reasoningEffort: "low" } } };
  const streamed = streamText(thinking);
  await streamed.consumeStream();
  for (const steps of [(await generateText(thinking)).steps, await streamed.steps]) {
    assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    assert.match(steps[0].reasoningText, /^Thinking about/);
    assert.equal(steps[1].text, 'get_weather says "18 degrees in Paris". get_time says "noon".');
  }
});

test("generateObject of an array and of a choice", async () => {
  const element = z.object({ city: z.string() });
  const array = await generateObject({ ...ask(CLAUDE, JOURNEY), output: "array", schema: element });
  assert.deepEqual(array.object, [{ city: "Paris" }]);
  const choice = await generateObject({ ...ask(CLAUDE, JOURNEY), output: "enum", enum: ["train", "boat"] });
  assert.equal(choice.object, "train");
});

test("generateObject without a schema", async () => {
  for (const model of [CLAUDE, NOVA]) {
    const { object } = await generateObject({ ...ask(model, "Hello!"), output: "no-schema" });
    assert.match(object.answer, /^You said: "Hello!"/);
    const streamed = streamObject({ ...ask(model, "Hello!"), output: "no-schema" });
    await all(streamed.partialObjectStream);
    assert.deepEqual(await streamed.object, object);
  }
});

test("a demanded tool", async () => {
  for (const [toolChoice, name] of [
    [{ type: "tool", toolName: "get_time" }, "get_time"],
    ["required", "get_weather"],
  ]) {
    const { toolCalls, finishReason } = await generateText({ ...ask(CLAUDE, "Hello!"), tools, toolChoice });
    assert.deepEqual(toolCalls.map((call) => call.toolName), [name]);
    assert.equal(finishReason, "tool-calls");
  }
});

test("embed and embedMany", async () => {
  for (const model of [TITAN, COHERE]) {
    const values = Array.from({ length: 120 }, (_, number) => `text ${number}`);
    const { embeddings, usage } = await embedMany({ model: provider.embeddingModel(model), values });
    const theirs = await client.embeddings.create({ model, input: values, encoding_format: "float" });
    assert.deepEqual(embeddings, theirs.data.map((item) => item.embedding));
    assert.equal(usage.tokens, theirs.usage.prompt_tokens);
    const { embedding } = await embed({ model: provider.embeddingModel(model), value: values[97] });
    assert.deepEqual(embedding, embeddings[97]);
  }
});

for (const [model, order, status, retryable] of [
  [NOVA, "[[local: status=429]]", 429, true],
  [NOVA, "[[local: status=503]]", 503, true],
  ["gpt-4o", "", 404, false],
]) {
  test(`a failure is the SDK's, and says whether to try again: ${status}`, async () => {
    await assert.rejects(generateText(ask(model, `Hello! ${order}`)), (error) => {
      assert.equal(error.name, "AI_APICallError");
      assert.equal(error.statusCode, status);
      assert.equal(error.isRetryable, retryable);
      assert.equal(error.message, error.data.error.message);
      return true;
    });
  });
}

test("a failure inside a stream is an error, and the finish reason is too", async () => {
  const failing = ask(NOVA, "Count to 9. [[local: exception=modelStreamErrorException after=3]]");
  const parts = await all(streamText({ ...failing, onError() {} }).fullStream);
  const [failed] = parts.filter((part) => part.type === "error");
  assert.match(failed.error.message, /modelStreamErrorException was ordered/);
  assert.equal(parts.find((part) => part.type === "text-delta").text, "1");
  assert.equal(parts.at(-1).finishReason, "error");
});
