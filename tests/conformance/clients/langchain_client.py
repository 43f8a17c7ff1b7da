"""langchain-openai: invoke, stream, tools, structured output, Responses API, embeddings."""

import json
import os

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import BadRequestError
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather to come."""

    city: str
    days: int


chat = ChatOpenAI(model=os.environ["MODEL"])
seen = {}
answer = chat.invoke("Where is my parcel?")
seen["chat"] = [answer.content, answer.usage_metadata["total_tokens"]]
chunks = list(chat.stream("Where is my parcel?"))
seen["stream"] = [
    [chunk.content for chunk in chunks],
    [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata],
]
seen["tool call"] = [call["args"] for call in chat.bind_tools([Weather]).invoke("hi").tool_calls]
seen["structured output"] = chat.with_structured_output(Weather).invoke("hi").model_dump()
try:
    chat.invoke("bad")
except BadRequestError as error:
    seen["error"] = [error.status_code, error.code]
seen["retried 429"] = chat.invoke("busy langchain").content
responses = ChatOpenAI(model=os.environ["MODEL"], use_responses_api=True)
seen["responses"] = responses.invoke("Where is my parcel?").text
vectors = OpenAIEmbeddings(model=os.environ["EMBEDDING_MODEL"], check_embedding_ctx_length=False)
seen["embeddings"] = vectors.embed_documents(["a", "bcd"])
print(json.dumps(seen))
