"""OpenAI's own client talks to a router: sync, async, streaming, embeddings, its classes of errors.

python openai_check.py URL MODEL KEY KEY_THAT_MAY_ASK_ONCE_A_MINUTE
"""

import asyncio
import json
import sys

import openai

url, model, key, once = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
messages = [{"role": "user", "content": "hello"}]
greedy = {"model": model, "temperature": 0}


def error(ask) -> list:
    """The class of what `ask` raises, its code, and after how long to come back."""
    try:
        ask()
    except openai.APIStatusError as found:
        return [type(found).__name__, found.code, found.response.headers.get("retry-after")]
    return ["nothing", None, None]


def embeddings() -> list:
    """Numbers, or what an engine without them answers."""
    try:
        return [one.embedding for one in client.embeddings.create(model=model, input=["one", "three"]).data]
    except openai.APIStatusError as found:
        return [type(found).__name__, found.code]


def with_key(secret):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)


async def by_async() -> dict:
    """The same client without blocking, several requests at once."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as other:
        asked = [other.chat.completions.create(**greedy, messages=messages, max_tokens=3) for _ in range(4)]
        whole = [one.choices[0].message.content for one in await asyncio.gather(*asked)]
        stream = await other.chat.completions.create(**greedy, messages=messages, max_tokens=5, stream=True)
        pieces = [chunk.choices[0].delta.content async for chunk in stream]
        left = await other.completions.create(**greedy, prompt="x", max_tokens=100, stream=True)
        async for _ in left:
            break
        await left.close()
    return {"whole": whole, "pieces": pieces}


chat = client.chat.completions.create(**greedy, messages=messages, max_tokens=4)
text = client.completions.create(**greedy, prompt="hello", max_tokens=4)
usage = {"include_usage": True}
chunks = list(
    client.chat.completions.create(**greedy, messages=messages, max_tokens=5, stream=True, stream_options=usage)
)
single = with_key(once).chat.completions.create(**greedy, messages=messages, max_tokens=2)
again = error(lambda: with_key(once).chat.completions.create(model=model, messages=messages))
raw = client.completions.with_raw_response.create(**greedy, prompt="hello", max_tokens=2)
print(
    json.dumps(
        {
            "models": [one.id for one in client.models.list()],
            "model": client.models.retrieve(model).id,
            "chat": [chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage.completion_tokens],
            "text": [text.choices[0].text, text.usage.prompt_tokens, text.id.partition("-")[0]],
            "stream": [chunk.choices[0].delta.content for chunk in chunks if chunk.choices],
            "stream_usage": [chunk.usage.completion_tokens for chunk in chunks if chunk.usage],
            "answer": raw.headers["x-baray-answer"],
            "embeddings": embeddings(),
            "async": asyncio.run(by_async()),
            "not found": error(lambda: client.chat.completions.create(model="nobody", messages=messages)),
            "no model": error(lambda: client.models.retrieve("nobody")),
            "bad key": error(with_key("bry_svc_wrong").models.list),
            "bad request": error(lambda: client.chat.completions.create(**greedy, messages=messages, max_tokens=5000)),
            "once": single.usage.completion_tokens,
            "spent": again,
        }
    )
)
