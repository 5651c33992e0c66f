"""Runs openai-agents in a Python that is not the tests': the outcomes of all runs, as JSON.

The variables OPENAI_BASE_URL and OPENAI_API_KEY are those of any user. The first argument is the model.
"""

import asyncio
import json
import sys
from typing import Any

from agents import Agent, ModelSettings, Runner, SQLiteSession, function_tool, set_tracing_disabled
from openai.types.shared import Reasoning
from pydantic import BaseModel

set_tracing_disabled(True)
MODEL = sys.argv[1]
WEATHER = "What is the weather in Paris?"
THINKING = ModelSettings(
    store=False,
    reasoning=Reasoning(effort="high", summary="auto"),
    response_include=["reasoning.encrypted_content"],
)


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"18 degrees in {city}"


class Place(BaseModel):
    """A place."""

    city: str


async def tools() -> dict[str, Any]:
    """Run the loop of tools with the default settings, and go on in the same conversation."""
    agent = Agent(name="Weather", instructions="Be brief.", model=MODEL, tools=[get_weather])
    session = SQLiteSession("one")
    first = await Runner.run(agent, WEATHER, session=session)
    second = await Runner.run(agent, "And the weather in Rome?", session=session)
    return {"outputs": [first.final_output, second.final_output], "requests": len(first.raw_responses)}


async def reasoning() -> dict[str, Any]:
    """Run the loop with reasoning, whole."""
    agent = Agent(name="Weather", model=MODEL, tools=[get_weather], model_settings=THINKING)
    ran = await Runner.run(agent, WEATHER)
    return {"output": ran.final_output, "items": [item.type for item in ran.new_items]}


async def streaming() -> dict[str, Any]:
    """Run the loop with reasoning, streamed."""
    agent = Agent(name="Weather", model=MODEL, tools=[get_weather], model_settings=THINKING)
    ran = Runner.run_streamed(agent, WEATHER)
    events = [event async for event in ran.stream_events()]
    raw = [event.data for event in events if event.type == "raw_response_event"]
    deltas = [event.delta for event in raw if event.type == "response.output_text.delta"]
    return {
        "output": ran.final_output,
        "text": "".join(deltas),
        "completed": [event.type for event in raw].count("response.completed"),
    }


async def handoff() -> dict[str, Any]:
    """Have one agent hand the conversation to another."""
    spanish = Agent(name="Spanish agent", model=MODEL, instructions="Habla.")
    triage = Agent(name="Triage", model=MODEL, handoffs=[spanish])
    ran = await Runner.run(triage, "Transfer to the spanish agent.")
    return {"agent": ran.last_agent.name, "output": ran.final_output}


async def structured() -> dict[str, Any]:
    """Have a type as the output."""
    ran = await Runner.run(Agent(name="Travel", model=MODEL, output_type=Place), "Go to Paris.")
    return ran.final_output_as(Place).model_dump()


async def main() -> dict[str, Any]:
    """Return the outcome of each run by its name."""
    return {run.__name__: await run() for run in (tools, reasoning, streaming, handoff, structured)}


print(json.dumps(asyncio.run(main())))
