"""OpenAI's shapes: what a request asks for, checked, and how answers, chunks and errors are written.

What is not done is refused by name and never ignored, unless asking for it changes nothing (n = 1, penalties of 0).
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baray.core import BarayError, Refused
from baray.serve.engines.port import Choice, Generation
from baray.serve.engines.text import Wording

MOST_STOPS, MOST_STOP_CHARACTERS, MOST_LOGPROBS = 16, 200, 20
_LEAST_TEMPERATURE = 1e-6
"""What is colder is greedy: engines divide by it in float32, where it may be zero."""
_COMPLETION_TOKENS = 16  # as OpenAI where a completion does not say
# Members that ask for something that is not done, and the values that ask for nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request for an answer."""

    chat: bool
    """Whether it came to /v1/chat/completions."""
    model: str
    """As the caller named it."""
    generation: Generation
    """What the engine is asked for."""
    stops: tuple[str, ...]
    """Strings that end it, left out of the answer."""
    streams: bool
    """Chunks as they come."""
    shows_usage: bool
    """A last chunk with the usage."""
    shows_ids: bool
    """Whether token ids are told beside the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What every chunk of an answer begins with."""

    id: str
    """`cmpl-...` or `chatcmpl-...`."""
    created: int
    """Seconds since 1970."""
    asked: Asked
    """The request."""


def read_asked(
    body: Mapping[str, Any],
    wording: Wording,
    *,
    chat: bool,
    context: int,
    ends: frozenset[int],
    new_seed: Callable[[], int],
) -> Asked:
    """Check a request. Raises Refused `bad_request`, `context_length_exceeded`, `no_chat_template`, `bad_messages`."""
    for name, neutral in _NEUTRAL.items():
        if body.get(name) is not None and body[name] not in neutral:
            raise _bad(f"'{name}' is {json.dumps(body[name])[:50]}, which is not done here.", f"Leave '{name}' out.")
    prompt = wording.encode_chat(_messages(body)) if chat else _prompt(body, wording)
    _check_known(prompt, wording)
    if not prompt:
        prompt = [min(ends, default=0)]  # from nothing: what stands between two texts
    options = body.get("stream_options") or {}
    temperature = _number(body, "temperature", 1.0, 0.0, 2.0)
    generation = Generation(
        prompt=tuple(prompt),
        max_tokens=_max_tokens(body, len(prompt), chat=chat, context=context),
        temperature=temperature if temperature >= _LEAST_TEMPERATURE else 0.0,
        top_p=_number(body, "top_p", 1.0, 0.0, 1.0),
        seed=_whole(body, "seed", -(2**63), 2**63 - 1, new_seed()) % 2**63,
        ends=frozenset() if body.get("ignore_eos") is True else ends,
        logprobs=_logprobs(body, chat=chat),
    )
    return Asked(
        chat=chat,
        model=str(body.get("model", "")),
        generation=generation,
        stops=_stops(body),
        streams=body.get("stream") is True,
        shows_usage=isinstance(options, dict) and options.get("include_usage") is True,
        shows_ids=body.get("return_token_ids") is True,
    )


def read_inputs(body: Mapping[str, Any], wording: Wording, *, context: int) -> list[list[int]]:
    """Token ids of each text of a request for embeddings. Raises Refused `bad_request`, `context_length_exceeded`."""
    told = body.get("input")
    texts = told if isinstance(told, list) and told and not _is_ids(told) else [told]
    if body.get("encoding_format", "float") not in {"float", "base64"}:
        raise _bad("'encoding_format' is neither float nor base64.", "Ask for float.")
    if len(texts) > 256:
        raise _bad(f"'input' holds {len(texts)} texts.", "Send at most 256.")
    found = [_ids(text, wording, "input") for text in texts]
    for one in found:
        _check_known(one, wording)
        if not 1 <= len(one) <= context:
            raise _too_long(len(one), 0, context) if one else _bad("'input' holds an empty text.", "Leave it out.")
    return found


def embedded(values: Sequence[float], encoding: object) -> list[float] | str:
    """An embedding as it was asked for: numbers, or base64 of little-endian float32, which OpenAI's own client asks for."""
    if encoding != "base64":
        return list(values)
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def usage(num_prompt: int, num_completion: int) -> dict[str, int]:
    """Counts of tokens."""
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_completion,
        "total_tokens": num_prompt + num_completion,
    }


def whole(head: Head, text: str, finish: str, told: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """An answer in one piece; `told` is what goes beside the text of its choice."""
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if head.asked.chat else {"text": text}
    kind = "chat.completion" if head.asked.chat else "text_completion"
    more = {"prompt_token_ids": list(head.asked.generation.prompt)} if head.asked.shows_ids else {}
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish, **told}
    return _start(head, kind) | {"choices": [choice], "usage": dict(counts)} | more


def chunk(head: Head, text: str, finish: str | None, told: Mapping[str, Any], *, first: bool = False) -> dict[str, Any]:
    """A piece of a streamed answer."""
    delta: dict[str, Any] = ({"role": "assistant"} if first else {}) | ({"content": text} if text or not finish else {})
    said: dict[str, Any] = {"delta": delta} if head.asked.chat else {"text": text}
    kind = "chat.completion.chunk" if head.asked.chat else "text_completion"
    return _start(head, kind) | {"choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish, **told}]}


def last_chunk(head: Head, counts: Mapping[str, int]) -> dict[str, Any]:
    """The chunk with the usage alone."""
    kind = "chat.completion.chunk" if head.asked.chat else "text_completion"
    return _start(head, kind) | {"choices": [], "usage": dict(counts)}


def beside(head: Head, choices: Sequence[Choice], wording: Wording, start: int) -> dict[str, Any]:
    """Token ids and log probabilities of new tokens, where they were asked for; `start` is the text's length before them."""
    told: dict[str, Any] = {"token_ids": [one.token for one in choices]} if head.asked.shows_ids else {}
    if head.asked.generation.logprobs is None:
        return told
    known = [one for one in choices if one.logprob is not None]
    if head.asked.chat:
        return told | {"logprobs": {"content": [_told(one, wording) for one in known]}}
    words = [wording.token(one.token) for one in known]
    offsets = [start + sum(map(len, words[:number])) for number in range(len(words))]
    tops = [{wording.token(token): log for token, log in one.top} for one in known]
    logs = [one.logprob for one in known]
    return told | {"logprobs": {"tokens": words, "token_logprobs": logs, "top_logprobs": tops, "text_offset": offsets}}


def error_body(error: BarayError) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    kinds = {429: "rate_limit_error", 503: "service_unavailable_error"}
    kind = kinds.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}


def _start(head: Head, kind: str) -> dict[str, Any]:
    return {"id": head.id, "object": kind, "created": head.created, "model": head.asked.model}


def _told(one: Choice, wording: Wording) -> dict[str, Any]:
    def entry(token: int, log: float | None) -> dict[str, Any]:
        word = wording.token(token)
        return {"token": word, "logprob": log, "bytes": list(word.encode())}

    return entry(one.token, one.logprob) | {"top_logprobs": [entry(token, log) for token, log in one.top]}


def _prompt(body: Mapping[str, Any], wording: Wording) -> list[int]:
    told = body.get("prompt", "")
    if isinstance(told, list) and not _is_ids(told):
        if len(told) != 1:
            raise _bad(f"'prompt' holds {len(told)} prompts.", "Send one prompt a request.")
        told = told[0]
    return _ids(told, wording, "prompt")


def _ids(told: object, wording: Wording, name: str) -> list[int]:
    if isinstance(told, str):
        if any("\ud800" <= one <= "\udfff" for one in told):
            raise _bad(f"'{name}' holds half a surrogate pair.", "Send whole characters.")
        return wording.encode(told)
    if isinstance(told, list) and _is_ids(told):
        if any(number >= wording.size for number in told):
            raise _bad(f"'{name}' holds a token id beyond {wording.size - 1}.", "Use the Model's own tokenizer.")
        return list(told)
    raise _bad(f"'{name}' is neither a text nor token ids.", f"Send '{name}' as text.")


def _check_known(ids: Sequence[int], wording: Wording) -> None:
    """Refuse a token without a row in the Model: asking for it would end the engine, for everybody."""
    if max(ids, default=0) >= wording.size:
        raise _bad(f"The text holds token {max(ids)}, and the Model knows {wording.size}.", "Leave that token out.")


def _is_ids(told: Sequence[object]) -> bool:
    return bool(told) and all(type(one) is int and one >= 0 for one in told)


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = body.get("messages")
    if not isinstance(told, list) or not told:
        raise _bad("'messages' is not a list of messages.", 'Send for example [{"role": "user", "content": "..."}].')
    return [_message(one) for one in told]


def _message(told: object) -> dict[str, Any]:
    role = told.get("role") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(role, str):
        raise _bad("A message has no role.", "Roles are system, user and assistant.")
    content = told.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
            raise _bad("A message holds something other than text.", "Send text alone.")
        content = "".join(str(text) for text in texts)
    if not isinstance(content, str):
        raise _bad("A message's content is not text.", "Send text.")
    if any("\ud800" <= one <= "\udfff" for one in content):
        raise _bad("A message holds half a surrogate pair.", "Send whole characters.")
    return {"role": role, "content": content}


def _max_tokens(body: Mapping[str, Any], num_prompt: int, *, chat: bool, context: int) -> int:
    left = context - num_prompt
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    wanted = _whole(body, name, 1, 2**31, max(1, left) if chat else min(_COMPLETION_TOKENS, max(1, left)))
    if wanted > left:
        raise _too_long(num_prompt, wanted, context)
    return wanted


def _too_long(num_prompt: int, num_wanted: int, context: int) -> Refused:
    asked = f"{num_prompt} of the prompt and {num_wanted} of the answer" if num_wanted else f"{num_prompt}"
    return Refused(
        "context_length_exceeded",
        f"This Model's context is {context} tokens; you asked for {asked}.",
        fix="Send a shorter text, or ask for fewer tokens.",
    )


def _logprobs(body: Mapping[str, Any], *, chat: bool) -> int | None:
    told = body.get("logprobs")
    if chat:
        return _whole(body, "top_logprobs", 0, MOST_LOGPROBS, 0) if told is True else None
    return None if told is None or told is False else _whole(body, "logprobs", 0, MOST_LOGPROBS, 0)


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    told = body.get("stop")
    stops = [] if told is None else [told] if isinstance(told, str) else told
    if not isinstance(stops, list) or len(stops) > MOST_STOPS:
        raise _bad("'stop' is not a text or a list of texts.", f"Send at most {MOST_STOPS}.")
    for stop in stops:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MOST_STOP_CHARACTERS:
            raise _bad(
                "A stop string is empty, too long or no text.", f"Each has 1 to {MOST_STOP_CHARACTERS} characters."
            )
    return tuple(stops)


def _number(body: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    told = default if body.get(name) is None else body[name]
    if isinstance(told, bool) or not isinstance(told, int | float) or not least <= told <= most:
        raise _bad(f"'{name}' is {json.dumps(told)[:50]}.", f"It is a number from {least:g} to {most:g}.")
    return float(told)


def _whole(body: Mapping[str, Any], name: str, least: int, most: int, default: int) -> int:
    told = default if body.get(name) is None else body[name]
    if type(told) is not int or not least <= told <= most:
        raise _bad(f"'{name}' is {json.dumps(told)[:50]}.", f"It is a whole number from {least} to {most}.")
    return told


def _bad(what: str, fix: str) -> Refused:
    return Refused("bad_request", what, fix=fix)
