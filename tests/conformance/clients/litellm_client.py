"""litellm as a client: completion, stream, tools, embeddings, a refused request."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.suppress_debug_info = True
model = "openai/" + os.environ["MODEL"]
base = {"model": model, "api_base": os.environ["OPENAI_BASE_URL"]}
question = [{"role": "user", "content": "Where is my parcel?"}]
parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
seen = {}
answer = litellm.completion(messages=question, **base)
seen["chat"] = [answer.choices[0].message.content, answer.usage.total_tokens]
chunks = list(litellm.completion(messages=question, stream=True, **base))
seen["stream"] = [chunk.choices[0].delta.content for chunk in chunks]
# Without the extra `mcp` this version of litellm cannot take tools, wherever it sends them.
called = litellm.completion(messages=question, tools=[tool], _skip_mcp_handler=True, **base)
(call,) = called.choices[0].message.tool_calls
seen["tool call"] = [call.function.name, call.function.arguments]
try:
    litellm.completion(messages=[{"role": "user", "content": "bad"}], **base)
except litellm.BadRequestError as error:
    seen["error"] = error.status_code
base["model"] = "openai/" + os.environ["EMBEDDING_MODEL"]
vectors = litellm.embedding(input=["a", "bcd"], encoding_format="float", **base)
seen["embeddings"] = [entry["embedding"] for entry in vectors.data]
print(json.dumps(seen))
