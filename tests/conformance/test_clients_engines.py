"""OpenAI's own client and curl talk through a router to a Replica that computes: the tokens are those of `transformers`."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from test_clients import Place, client, open_place
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from engine_models import TEXTS, greedy, make_model
from real_replica import Served

__all__ = ["client"]  # a fixture
CHAT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
ENGINES = ["torch", pytest.param("llamacpp", marks=pytest.mark.slow)]


class Right:
    """What `transformers` says."""

    def __init__(self, folder: Path, network: PreTrainedModel) -> None:
        self.tokenizer, self.network = Tokenizer.from_file(str(folder / "tokenizer.json")), network

    def said(self, prompt: str, number: int) -> tuple[str, str, int]:
        """(text, why it ended, tokens) of a greedy answer."""
        ids = greedy(self.network, self.tokenizer.encode(prompt).ids, number)
        return self.tokenizer.decode(ids), "stop" if ids[-1] in (0, 2) else "length", len(ids)

    def embedding(self, text: str) -> list[float]:
        """The mean of the last hidden states."""
        with torch.no_grad():
            found = self.network.model(torch.tensor([self.tokenizer.encode(text).ids])).last_hidden_state
        return found[0].mean(dim=0).tolist()


@pytest.fixture(scope="module", params=ENGINES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Place, Right, str]]:
    folder = tmp_path_factory.mktemp(request.param)
    network = make_model(folder / "model")
    replica = Served(folder, folder / "model", engine=request.param, slots=4)
    try:
        asyncio.run(replica.until(lambda health: health["ready"], "ready"))
        (folder / "place").mkdir()
        with open_place(folder / "place", request.param, replica.socket) as place:
            yield place, Right(folder / "model", network), request.param
    finally:
        replica.end()


def test_the_official_client_has_the_tokens_of_transformers(served, client: Callable[..., dict]) -> None:
    place, right, engine = served
    said = client("openai", place.url, "talk", place.key, place.once)
    chat, text = right.said(CHAT, 5), right.said("hello", 4)
    assert said["chat"] == list(right.said(CHAT, 4))
    assert said["text"] == [text[0], len(right.tokenizer.encode("hello").ids), "cmpl"]
    assert ("".join(piece or "" for piece in said["stream"]), said["stream_usage"]) == (chat[0], [chat[2]])
    assert said["async"]["whole"] == [right.said(CHAT, 3)[0]] * 4
    assert "".join(piece or "" for piece in said["async"]["pieces"]) == chat[0]
    if engine == "torch":
        for found, text in zip(said["embeddings"], ("one", "three"), strict=True):
            assert found == pytest.approx(right.embedding(text), abs=1e-4)
    else:
        assert said["embeddings"][0] == "BadRequestError"
    assert said["not found"] == ["NotFoundError", "not_found", None]
    assert said["bad key"] == ["AuthenticationError", "bad_token", None]
    assert said["bad request"] == ["BadRequestError", "context_length_exceeded", None]
    assert said["spent"][:2] == ["RateLimitError", "too_many_requests"]


@pytest.mark.parametrize("prompt", [TEXTS[0], TEXTS[2]], ids=["km", "en"])
def test_curl_streams_the_same_tokens_as_they_come(served, prompt: str) -> None:
    place, right, _ = served
    body = {"model": "talk", "prompt": prompt, "max_tokens": 24, "temperature": 0, "stream": True}
    argv = ["curl", "-sN", f"{place.url}/v1/completions", "-H", f"Authorization: Bearer {place.key}"]
    argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    events = [line.removeprefix("data: ") for line in told.splitlines() if line]
    pieces = [json.loads(event)["choices"][0] for event in events[:-1]]
    text, why, _ = right.said(prompt, 24)
    assert events[-1] == "[DONE]"
    assert ("".join(piece["text"] for piece in pieces), pieces[-1]["finish_reason"]) == (text, why)
    assert len([piece for piece in pieces if piece["text"]]) > 8
