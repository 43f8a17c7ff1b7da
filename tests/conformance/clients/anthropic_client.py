"""The anthropic package on `/v1/messages`: a message, streams, a tool, a refused request."""

import json
import os

from anthropic import Anthropic, BadRequestError

client, model = Anthropic(), os.environ["MODEL"]
question = [{"role": "user", "content": "Where is my parcel?"}]
schema = {"type": "object", "properties": {"city": {"type": "string"}}}
tool = {"name": "get_weather", "description": "the weather", "input_schema": schema}
seen = {}
answer = client.messages.create(model=model, max_tokens=50, messages=question)
seen["message"] = [answer.id, answer.content[0].text, answer.usage.output_tokens]
with client.messages.stream(model=model, max_tokens=50, messages=question) as stream:
    seen["stream"] = list(stream.text_stream)
    final = stream.get_final_message()
    seen["end of the stream"] = [final.stop_reason, final.usage.output_tokens]
with client.messages.stream(model=model, max_tokens=50, messages=question, tools=[tool]) as stream:
    (used,) = stream.get_final_message().content
    seen["streamed tool use"] = [used.name, used.input]
try:
    bad = [{"role": "user", "content": "bad"}]
    client.messages.create(model=model, max_tokens=50, messages=bad)
except BadRequestError as error:
    seen["error"] = [error.status_code, error.body]
print(json.dumps(seen))
