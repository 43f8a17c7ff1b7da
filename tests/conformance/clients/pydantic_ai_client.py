"""pydantic-ai: a run, a stream, typed output, a tool, the Responses API, a refused request."""

import asyncio
import json
import os

from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel


class Weather(BaseModel):
    city: str
    days: int


async def main():
    model, seen = OpenAIChatModel(os.environ["MODEL"]), {}
    result = await Agent(model).run("Where is my parcel?")
    usage = result.usage() if callable(result.usage) else result.usage
    seen["chat"] = [result.output, usage.total_tokens]
    async with Agent(model).run_stream("Where is my parcel?") as stream:
        seen["stream"] = [text async for text in stream.stream_text(delta=True, debounce_by=None)]
    seen["typed output"] = (await Agent(model, output_type=Weather).run("hi")).output.model_dump()
    agent = Agent(model)

    @agent.tool_plain
    def forecast(city: str) -> str:
        seen["tool"] = city
        return "sunny"

    seen["answer after the tool"] = (await agent.run("How is the weather?")).output
    try:
        await Agent(model).run("bad")
    except ModelHTTPError as error:
        seen["error"] = [error.status_code, error.body["code"]]
    seen["retried 429"] = (await Agent(model).run("busy pydantic-ai")).output
    responses = OpenAIResponsesModel(os.environ["MODEL"])
    seen["responses"] = (await Agent(responses).run("Where is my parcel?")).output
    print(json.dumps(seen))


asyncio.run(main())
