import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import OpenAI from "openai";
import { all, CLAUDE, client, local, NOVA, say } from "./fixtures.mjs";

const TITAN = "amazon.titan-embed-text-v2:0";
const ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6";
const HELLO = { model: NOVA, messages: say("Hello!") };

beforeEach(() => local.forget());

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("nothing was thrown");
}

test("embeddings: base64 by default, floats when asked", async () => {
  const decoded = await client.embeddings.create({ model: TITAN, input: "text" });
  const floats = await client.embeddings.create({ model: TITAN, input: "text", encoding_format: "float" });
  assert.equal(decoded.data[0].embedding.length, 1024);
  decoded.data[0].embedding.forEach((number, place) => {
    assert.ok(Math.abs(number - floats.data[0].embedding[place]) < 1e-6);
  });
  assert.deepEqual(decoded.usage, floats.usage);
});

test("embeddings: many texts, in order, of the size asked for", async () => {
  const input = Array.from({ length: 100 }, (_, number) => `text ${number}`);
  for (const [model, dimensions] of [[TITAN, 256], ["cohere.embed-english-v3", 1024]]) {
    const { data } = await client.embeddings.create({ model, input, dimensions });
    assert.deepEqual(data.map((item) => item.index), input.map((_, number) => number));
    assert.ok(data.every((item) => item.embedding.length === dimensions));
    const alone = await client.embeddings.create({ model, input: input[97], dimensions });
    assert.deepEqual(data[97].embedding, alone.data[0].embedding);
  }
});

test("models: the list and one of it", async () => {
  const models = await all(client.models.list());
  const ids = models.map((model) => model.id);
  for (const id of [CLAUDE, NOVA, `us.${CLAUDE}`, ARN]) {
    assert.ok(ids.includes(id), id);
    const found = await client.models.retrieve(id);
    assert.equal(found.id, id);
    assert.equal(found.object, "model");
  }
});

test("errors: a wrong key", async () => {
  const error = await failure(client.withOptions({ apiKey: "qc_wrong" }).chat.completions.create(HELLO));
  assert.ok(error instanceof OpenAI.AuthenticationError);
  assert.equal(error.code, "invalid_api_key");
  assert.ok(error.requestID);
  assert.deepEqual(await local.calls(), []);
});

test("errors: an organisation that is not the key's", async () => {
  const error = await failure(client.withOptions({ organization: "umbrella" }).models.list());
  assert.ok(error instanceof OpenAI.PermissionDeniedError);
});

test("errors: a model that is not there", async () => {
  const missing = await failure(client.chat.completions.create({ ...HELLO, model: "gpt-4o" }));
  assert.ok(missing instanceof OpenAI.NotFoundError);
  assert.equal(missing.code, "model_not_found");
  assert.ok((await failure(client.models.retrieve("gpt-4o"))) instanceof OpenAI.NotFoundError);
});

test("errors: a bad request names the parameter", async () => {
  const error = await failure(client.chat.completions.create({ model: NOVA, messages: [{ role: "user" }] }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "messages[0].content");
  assert.equal(error.type, "invalid_request_error");
});

test("errors: a body that is too large", async () => {
  const error = await failure(client.chat.completions.create({ model: NOVA, messages: say("x".repeat(34_000_000)) }));
  assert.ok(error instanceof OpenAI.APIError, String(error));
  assert.equal(error.status, 413);
});

test("errors: what is not served", async () => {
  const error = await failure(client.responses.create({ model: NOVA, input: "text" }));
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.match(error.message, /chat\/completions/);
});

test("errors: throttling is retried", async () => {
  const throttled = { model: NOVA, messages: say("Hello! [[local: status=429]]") };
  const error = await failure(client.chat.completions.create(throttled, { maxRetries: 1 }));
  assert.ok(error instanceof OpenAI.RateLimitError);
  assert.equal(error.code, "rate_limit_exceeded");
  assert.equal((await local.calls()).length, 2);
});

test("errors: what Bedrock could not do", async () => {
  for (const status of [500, 503, 424]) {
    const failing = { model: NOVA, messages: say(`Hello! [[local: status=${status}]]`) };
    const error = await failure(client.chat.completions.create(failing));
    assert.ok(error instanceof OpenAI.InternalServerError, `${status}: ${error}`);
    assert.ok(error.message);
  }
});
