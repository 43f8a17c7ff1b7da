"""instructor: typed answers by tools and by JSON schema, whole and as a growing stream."""

import json
import os

import instructor
from openai import OpenAI
from pydantic import BaseModel


class Weather(BaseModel):
    city: str
    days: int


model, seen = os.environ["MODEL"], {}
question = [{"role": "user", "content": "How is the weather?"}]
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(OpenAI(), mode=mode)
    answer = client.chat.completions.create(model=model, messages=question, response_model=Weather)
    seen[f"typed, {mode.name}"] = answer.model_dump()
    *_, last = client.chat.completions.create_partial(
        model=model, messages=question, response_model=Weather
    )
    seen[f"streamed, {mode.name}"] = last.model_dump()
print(json.dumps(seen))
