"""The openai package: chat, streams, tools, structured output, errors, retries, the other endpoints."""

import json
import os

from openai import BadRequestError, OpenAI
from pydantic import BaseModel


class Weather(BaseModel):
    city: str
    days: int


client, model = OpenAI(), os.environ["MODEL"]
question = [{"role": "user", "content": "Where is my parcel?"}]
parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
seen = {}

answer = client.chat.completions.create(model=model, messages=question)
seen["chat"] = [answer.id, answer.choices[0].message.content, answer.usage.total_tokens]

chunks = list(client.chat.completions.create(model=model, messages=question, stream=True))
seen["stream"] = [chunk.model_dump(exclude={"model"}) for chunk in chunks]
usage = {"include_usage": True}
chunks = list(
    client.chat.completions.create(
        model=model, messages=question, stream=True, stream_options=usage
    )
)
seen["stream with usage"] = [chunk.model_dump(exclude={"model"}) for chunk in chunks]
with client.chat.completions.stream(model=model, messages=question, tools=[tool]) as stream:
    (call,) = stream.get_final_completion().choices[0].message.tool_calls
seen["streamed tool call"] = [call.id, call.function.name, call.function.arguments]

parsed = client.chat.completions.parse(model=model, messages=question, response_format=Weather)
seen["structured output"] = parsed.choices[0].message.parsed.model_dump()

try:
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "bad"}])
except BadRequestError as error:
    seen["error"] = [error.status_code, error.code, error.param, error.body]
busy = [{"role": "user", "content": "busy openai"}]
seen["retried 429"] = (
    client.chat.completions.create(model=model, messages=busy).choices[0].message.content
)

response = client.responses.create(model=model, input="Where is my parcel?")
seen["responses"] = [response.id, response.output_text, response.usage.total_tokens]
events = client.responses.create(model=model, input="Where is my parcel?", stream=True)
seen["responses stream"] = [
    [event.type, getattr(event, "delta", None), event.sequence_number] for event in events
]
vectors = client.embeddings.create(model=os.environ["EMBEDDING_MODEL"], input=["a", "bcd"])
seen["embeddings"] = [entry.embedding for entry in vectors.data]
print(json.dumps(seen))
