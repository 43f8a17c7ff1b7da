// The openai package for Node: chat, streams, tools, errors, retries, Responses API, embeddings.
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.MODEL;
const messages = [{ role: "user", content: "Where is my parcel?" }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const seen = {};

const answer = await client.chat.completions.create({ model, messages });
seen.chat = [answer.id, answer.choices[0].message.content, answer.usage.total_tokens];

seen.stream = [];
for await (const { model: _, ...chunk } of await client.chat.completions.create({ model, messages, stream: true }))
  seen.stream.push(chunk);
seen["stream with usage"] = [];
const stream_options = { include_usage: true };
for await (const { model: _, ...chunk } of await client.chat.completions.create({ model, messages, stream: true, stream_options }))
  seen["stream with usage"].push(chunk);
const final = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
seen["streamed tool call"] = final.choices[0].message.tool_calls[0].function;
try {
  await client.chat.completions.create({ model, messages: [{ role: "user", content: "bad" }] });
} catch (error) {
  seen.error = [error.constructor.name, error.status, error.code, error.param, error.error];
}
const busy = [{ role: "user", content: "busy node" }];
seen["retried 429"] = (await client.chat.completions.create({ model, messages: busy })).choices[0].message.content;
const response = await client.responses.create({ model, input: "Where is my parcel?" });
seen.responses = [response.id, response.output_text, response.usage.total_tokens];
seen["responses stream"] = [];
for await (const event of await client.responses.create({ model, input: "Where is my parcel?", stream: true }))
  seen["responses stream"].push([event.type, event.delta ?? null]);
const vectors = await client.embeddings.create({ model: process.env.EMBEDDING_MODEL, input: ["a", "bcd"] });
seen.embeddings = vectors.data.map((entry) => entry.embedding);
console.log(JSON.stringify(seen));
