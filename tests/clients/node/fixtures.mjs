// What the tests share: the SDK's client as an application has it (but without retries), and the local Bedrock.

import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import OpenAI from "openai";

export const CLAUDE = "anthropic.claude-sonnet-4-6";
export const NOVA = "amazon.nova-micro-v1:0";

export const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

export const say = (content) => [{ role: "user", content }];

export const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
export const clock = { type: "function", function: { name: "get_time", description: "The time." } };

const MODEL_CALLS = ["Converse", "ConverseStream", "InvokeModel"];

async function ask(method, path) {
  const answer = await fetch(process.env.LOCAL_BEDROCK_URL + path, { method });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer;
}

export const local = {
  async calls() {
    const calls = await (await ask("GET", "/_local/calls")).json();
    return calls.filter((call) => MODEL_CALLS.includes(call.operation));
  },
  async call() {
    const calls = await this.calls();
    assert.equal(calls.length, 1);
    return calls[0];
  },
  async waitFor(state) {
    const end = Date.now() + 20_000;
    for (let call = await this.call(); call.state !== state; call = await this.call()) {
      assert.ok(Date.now() < end, `the call should be ${state}, but it is ${call.state}`);
    }
  },
  async release() {
    await ask("POST", "/_local/release");
  },
  async forget() {
    // The texts are kept for tests/prompts.py: they must be in no log.
    const bodies = (await this.calls()).map((call) => `${JSON.stringify(call.body)}\n`);
    if (process.env.PROMPTS) appendFileSync(process.env.PROMPTS, bodies.join(""));
    await ask("DELETE", "/_local/calls");
  },
};

export async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

export const content = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
