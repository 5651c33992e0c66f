// LangChain for JavaScript. Its settings come from OPENAI_BASE_URL and OPENAI_API_KEY.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { AIMessage, HumanMessage, SystemMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import { all, CLAUDE, client, local, NOVA } from "./fixtures.mjs";

const TITAN = "amazon.titan-embed-text-v2:0";
const COHERE = "cohere.embed-english-v3";

const chat = (model, settings = {}) => new ChatOpenAI({ model, maxRetries: 0, timeout: 20_000, ...settings });

const tools = [
  tool(({ city }) => `18 degrees in ${city}`, {
    name: "get_weather",
    description: "The weather in a city.",
    schema: z.object({ city: z.string() }),
  }),
  tool(() => "noon", { name: "get_time", description: "The time.", schema: z.object({}) }),
];

const Journey = z.object({
  title: z.string(),
  by: z.enum(["train", "boat"]),
  stops: z.array(z.object({ city: z.string(), nights: z.number().int() })),
});
const JOURNEY = "Plan a journey to Paris for 3 nights.";
const PARIS = { title: "Paris", by: "train", stops: [{ city: "city", nights: 3 }] };

const joined = (chunks) => chunks.reduce((whole, chunk) => whole.concat(chunk));

beforeEach(() => local.forget());
afterEach(() => local.release());

test("invoke", async () => {
  const answer = await chat(CLAUDE).invoke([new SystemMessage("Answer in verse."), new HumanMessage("Hello!")]);
  assert.equal(answer.content, 'You said: "Hello!" (1 text block, 0 images, 1 turn). System: "Answer in verse."');
  assert.match(answer.id, /^chatcmpl-/);
  assert.equal(answer.response_metadata.finish_reason, "stop");
  assert.equal(answer.response_metadata.model_name, CLAUDE);
  const { input_tokens: asked, output_tokens: answered, total_tokens: total } = answer.usage_metadata;
  assert.ok(asked > 0 && answered > 0);
  assert.equal(total, asked + answered);
});

test("a conversation", async () => {
  const history = [new HumanMessage("Hello!"), new AIMessage("Hello."), new HumanMessage("And now?")];
  const answer = await chat(NOVA).invoke(history);
  assert.equal(answer.content, 'You said: "And now?" (1 text block, 0 images, 3 turns).');
});

test("batch", async () => {
  const texts = Array.from({ length: 10 }, (_, number) => `number ${number}`);
  const answers = await chat(NOVA).batch(texts);
  answers.forEach((answer, number) => assert.ok(answer.content.includes(`"${texts[number]}"`)));
});

test("what is set reaches the model", async () => {
  const settings = { maxTokens: 8, temperature: 0.5, topP: 0.25, stop: ["END"] };
  const answer = await chat(NOVA, settings).invoke("Count to 50.");
  assert.equal(answer.response_metadata.finish_reason, "length");
  assert.deepEqual((await local.call()).body, {
    messages: [{ role: "user", content: [{ text: "Count to 50." }] }],
    inferenceConfig: { temperature: 0.5, topP: 0.25, maxTokens: 8, stopSequences: ["END"] },
  });
});

test("stream", async () => {
  const chunks = await all(await chat(NOVA).stream("Count to 9."));
  assert.ok(chunks.filter((chunk) => chunk.content).length > 3);
  const whole = joined(chunks);
  assert.equal(whole.content, "1 2 3 4 5 6 7 8 9");
  assert.equal(whole.response_metadata.finish_reason, "stop");
  const buffered = await chat(NOVA).invoke("Count to 9.");
  for (const count of ["input_tokens", "output_tokens", "total_tokens"]) {
    assert.equal(whole.usage_metadata[count], buffered.usage_metadata[count], count);
  }
});

test("stream gives the first words while the model is still producing", async () => {
  let read = "";
  for await (const chunk of await chat(NOVA).stream("Count to 9. [[local: hold=1]]")) {
    read += chunk.content;
    if (read === "1") {
      assert.equal((await local.call()).state, "running");
      await local.release();
    }
  }
  assert.equal(read, "1 2 3 4 5 6 7 8 9");
});

for (const model of [CLAUDE, NOVA]) {
  for (const streamed of [false, true]) {
    test(`a loop of tools: ${model}, streamed ${streamed}`, async () => {
      const bound = chat(model).bindTools(tools);
      const answer = async (history) =>
        streamed ? joined(await all(await bound.stream(history))) : bound.invoke(history);
      const history = [new HumanMessage("What are the weather and the time in Paris?")];
      const first = await answer(history);
      assert.equal(first.response_metadata.finish_reason, "tool_calls");
      assert.deepEqual(first.tool_calls.map((call) => [call.name, call.args]), [
        ["get_weather", { city: "Paris" }],
        ["get_time", {}],
      ]);
      assert.deepEqual(first.invalid_tool_calls, []);
      history.push(first);
      for (const call of first.tool_calls) {
        history.push(await tools.find(({ name }) => name === call.name).invoke(call));
      }
      const second = await answer(history);
      assert.equal(second.content, 'get_weather says "18 degrees in Paris". get_time says "noon".');
      assert.equal(second.response_metadata.finish_reason, "stop");
    });
  }

  for (const method of ["jsonSchema", "functionCalling"]) {
    test(`structured output: ${model}, ${method}`, async () => {
      const structured = chat(model).withStructuredOutput(Journey, { method });
      assert.deepEqual(await structured.invoke(JOURNEY), PARIS);
      assert.deepEqual((await all(await structured.stream(JOURNEY))).at(-1), PARIS);
      const settings = { method, name: "journey", strict: true, includeRaw: true };
      const { raw, parsed } = await chat(model).withStructuredOutput(Journey, settings).invoke(JOURNEY);
      assert.deepEqual(parsed, PARIS);
      assert.equal(raw.tool_calls.length, method === "functionCalling" ? 1 : 0);
    });
  }
}

test("a demanded tool", async () => {
  for (const [choice, name] of [["get_time", "get_time"], ["any", "get_weather"]]) {
    const answer = await chat(CLAUDE).bindTools(tools, { tool_choice: choice }).invoke("Hello!");
    assert.deepEqual(answer.tool_calls.map((call) => call.name), [name]);
  }
});

test("embeddings", async () => {
  const texts = ["one", "naïve 日本語 😀", "three"];
  for (const [model, dimensions] of [[TITAN, 256], [COHERE, 1024]]) {
    const embeddings = new OpenAIEmbeddings({ model, dimensions, maxRetries: 0 });
    const vectors = await embeddings.embedDocuments(texts);
    const theirs = await client.embeddings.create({ model, dimensions, input: texts });
    assert.deepEqual(vectors, theirs.data.map((item) => item.embedding));
    assert.deepEqual(await embeddings.embedQuery(texts[1]), vectors[1]);
  }
});

test("throttling is LangChain's exception", async () => {
  await assert.rejects(chat(NOVA).invoke("Hello! [[local: status=429]]"), (error) => {
    assert.equal(error.status, 429);
    assert.equal(error.lc_error_code, "MODEL_RATE_LIMIT");
    return true;
  });
});

test("a failure inside a stream is thrown", async () => {
  const read = [];
  await assert.rejects(async () => {
    const stream = await chat(NOVA).stream("Count to 9. [[local: exception=modelStreamErrorException after=3]]");
    for await (const chunk of stream) read.push(chunk.content);
  }, /modelStreamErrorException was ordered/);
  assert.match(read.join(""), /^1/);
});
