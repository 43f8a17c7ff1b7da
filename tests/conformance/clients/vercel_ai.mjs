// The Vercel AI SDK: generateText, streamText, generateObject, tools; its OpenAI and its compatible provider.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.OPENAI_BASE_URL;
const openai = createOpenAI({ baseURL });
const compatible = createOpenAICompatible({ name: "gateway", baseURL, apiKey: process.env.OPENAI_API_KEY, includeUsage: true });
const name = process.env.MODEL;
const prompt = "Where is my parcel?";
const seen = {};

for (const [label, model] of [["chat", openai.chat(name)], ["responses", openai.responses(name)], ["compatible", compatible(name)]]) {
  const { text, usage, finishReason } = await generateText({ model, prompt });
  seen[`${label}: generateText`] = [text, finishReason, usage.totalTokens];
  const streamed = streamText({ model, prompt });
  const pieces = [];
  for await (const piece of streamed.textStream) pieces.push(piece);
  seen[`${label}: streamText`] = [pieces, await streamed.finishReason, (await streamed.usage).totalTokens];
}
const schema = z.object({ city: z.string(), days: z.number().int() });
seen.generateObject = (await generateObject({ model: openai.chat(name), schema, prompt })).object;
const weather = tool({ description: "the weather", inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sunny in ${city}` });
const used = await generateText({ model: openai.chat(name), prompt, tools: { weather }, stopWhen: stepCountIs(2) });
seen["tool and answer"] = [used.steps[0].toolResults.map((result) => result.output), used.text];
try {
  await generateText({ model: openai.chat(name), prompt: "bad", maxRetries: 0 });
} catch (error) {
  seen.error = [error.name, error.statusCode, error.data];
}
seen["retried 429"] = (await generateText({ model: openai.chat(name), prompt: "busy vercel" })).text;
seen.embedMany = (await embedMany({ model: openai.embedding(process.env.EMBEDDING_MODEL), values: ["a", "bcd"] })).embeddings;
console.log(JSON.stringify(seen));
