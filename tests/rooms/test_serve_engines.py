"""The contract of engines, on each that is there: our torch loop and llama.cpp. `transformers` says what is right."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from lm_tokens import documents, lm_context, write_tokens
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from baray.core import Fault, Refused
from baray.serve.engines.port import FAILED, GIVEN_UP, LENGTH, STOP, Engine, EngineOptions, Generation, Piece
from baray.train.lm.handler import train
from engine_models import PROMPTS, STRETCHES, greedy, make_model
from runs_home import alive_with

SLOTS, CONTEXT, LIMIT_SECONDS = 8, 192, 60.0
LOADERS = {
    "torch": "baray.serve.engines.torch_loop:load_torch",
    "llamacpp": "baray.serve.engines.llamacpp:load_llamacpp",
}


ONE_LAYOUT = pytest.mark.parametrize("model", ["qwen3"], indirect=True)
VLLM = "baray.serve.engines.vllm:load_vllm"


@dataclass
class Answer:
    """What came of one Generation."""

    pieces: list[Piece] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def take(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.begun.set()
        if piece.finish:
            self.ended.set()

    @property
    def tokens(self) -> list[int]:
        return [choice.token for piece in self.pieces for choice in piece.choices]

    @property
    def text(self) -> str:
        return "".join(piece.text or "" for piece in self.pieces)


def load(name, folder, work, precision="fp32", slots=SLOTS, context=CONTEXT) -> Engine:
    work.mkdir(parents=True, exist_ok=True)
    options = EngineOptions(slots=slots, context=context, precision=precision, threads=1, memory_bytes=4 << 30)
    module, _, function = (LOADERS | {"vllm": VLLM})[name].partition(":")
    return getattr(importlib.import_module(module), function)(folder, work, options)


def ask(engine: Engine, *wanted: Generation) -> list[Answer]:
    answers = [Answer() for _ in wanted]
    for one, answer in zip(wanted, answers, strict=True):
        engine.submit(one, answer.take)
    for answer in answers:
        assert answer.ended.wait(LIMIT_SECONDS)
    return answers


def until(found, limit_seconds=LIMIT_SECONDS):
    end = time.monotonic() + limit_seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    made = make_model(folder, request.param)
    return folder, made, Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What the recipe `lm` makes in a second."""
    run = tmp_path_factory.mktemp("run")
    train(lm_context(run, write_tokens(tmp_path_factory.mktemp("tokens"), documents()), steps="60"))
    folder = run / "attempt-1" / "out" / "small"
    made = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return folder, made, Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module", params=sorted(LOADERS))
def engine(request, model, tmp_path_factory):
    found = load(request.param, model[0], tmp_path_factory.mktemp("work"))
    yield found
    found.close()


def said(answer: Answer, tokenizer: Tokenizer) -> str:
    return answer.text if answer.pieces[0].text is not None else tokenizer.decode(answer.tokens)


def test_greedy_gives_the_tokens_of_transformers_alone_and_beside_others(model, engine):
    _, made, tokenizer = model
    prompts = [tokenizer.encode(text).ids for text in PROMPTS]
    right = [greedy(made, prompt, 24) for prompt in prompts]
    assert engine.exact
    assert len({tuple(one) for one in right}) > 1
    wanted = [Generation(prompt=tuple(prompt), max_tokens=24, ends=frozenset({0, 2})) for prompt in prompts]
    alone = [ask(engine, one)[0] for one in wanted]
    expected = [tokenizer.decode(one) for one in right]
    assert [said(answer, tokenizer) for answer in alone] == expected
    assert [answer.pieces[-1].num_tokens for answer in alone] == [len(one) for one in right]
    if alone[0].pieces[0].text is None:
        assert [answer.tokens for answer in alone] == [[one for one in told if one not in (0, 2)] for told in right]
    together = ask(engine, *wanted, *wanted[:3])  # eight streams
    assert [said(answer, tokenizer) for answer in together] == expected + expected[:3]


@pytest.mark.parametrize("way", sorted(STRETCHES))
def test_stretched_positions_give_the_tokens_of_transformers(way, tmp_path):
    made = make_model(tmp_path / "model", "llama", stretch=STRETCHES[way])
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    prompts = [tokenizer.encode(text * 3).ids for text in PROMPTS]
    right = [tokenizer.decode(greedy(made, prompt, 24)) for prompt in prompts]
    plain = make_model(tmp_path / "plain", "llama")  # the same weights: the stretch alone makes the difference
    assert [tokenizer.decode(greedy(plain, prompt, 24)) for prompt in prompts] != right
    wanted = [Generation(prompt=tuple(prompt), max_tokens=24, ends=frozenset({0, 2})) for prompt in prompts]
    for name in sorted(LOADERS):
        engine = load(name, tmp_path / "model", tmp_path / name)
        try:
            assert [said(answer, tokenizer) for answer in ask(engine, *wanted)] == right, name
        finally:
            engine.close()


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_what_our_own_training_makes_is_served_with_the_tokens_of_transformers(trained, name, tmp_path):
    folder, made, tokenizer = trained
    engine = load(name, folder, tmp_path, context=32)
    prompts = [tokenizer.encode(text).ids for text in ("the land", "ជំរ", "office asks", "water fee on", "Monday")]
    assert max(map(len, prompts)) <= 8  # and 24 more are the context
    right = [greedy_without_ends(made, prompt, 24) for prompt in prompts]
    answers = ask(engine, *(Generation(prompt=tuple(prompt), max_tokens=24) for prompt in prompts))
    engine.close()
    assert [said(answer, tokenizer) for answer in answers] == [tokenizer.decode(one) for one in right]


def test_it_ends_where_it_was_asked_to_and_counts(engine, model):
    (answer,) = ask(engine, Generation(prompt=(300, 301), max_tokens=7))
    assert (answer.pieces[-1].finish, answer.pieces[-1].num_tokens) == (LENGTH, 7)
    first = greedy(model[1], [300, 301], 1)[0]
    if answer.pieces[0].text is None:
        (answer,) = ask(engine, Generation(prompt=(300, 301), max_tokens=7, ends=frozenset({first})))
        assert (answer.tokens, answer.pieces[-1].finish, answer.pieces[-1].num_tokens) == ([], STOP, 1)


def test_a_seed_draws_the_same_whatever_runs_beside(engine, model):
    def one(seed):
        return Generation(prompt=(300, 301), max_tokens=12, temperature=1.5, top_p=0.95, seed=seed)

    first, second, other, *_ = ask(engine, one(1), one(1), one(2), *(one(number) for number in range(3, 9)))
    tokenizer = model[2]
    assert said(first, tokenizer) == said(second, tokenizer) != said(other, tokenizer)
    best = Generation(prompt=(300, 301), max_tokens=12)
    narrow, cold = replace(best, temperature=1.5, top_p=0.0, seed=3), replace(best, temperature=1e-30, seed=3)
    assert len({said(one, tokenizer) for one in ask(engine, best, narrow, cold)}) == 1


def test_log_probabilities_are_those_of_the_model(engine, model):
    (answer,) = ask(engine, Generation(prompt=(300, 301), max_tokens=1, logprobs=3))
    with torch.inference_mode():
        logs = torch.log_softmax(model[1](torch.tensor([[300, 301]])).logits[0, -1].double(), -1)
    choice = answer.pieces[0].choices[0]
    assert choice.logprob == pytest.approx(float(logs.max()), abs=1e-4)
    assert [token for token, _ in choice.top] == logs.topk(3).indices.tolist()
    assert [log for _, log in choice.top] == pytest.approx(logs.topk(3).values.tolist(), abs=1e-4)


def test_who_cancels_frees_a_slot_within_a_step(engine):
    long = Generation(prompt=(300, 301), max_tokens=CONTEXT - 8)
    running = [Answer() for _ in range(SLOTS + 1)]
    tickets = [engine.submit(long, answer.take) for answer in running]
    until(lambda: all(answer.begun.is_set() for answer in running[:SLOTS]))
    engine.cancel(tickets[0])
    assert running[-1].ended.wait(LIMIT_SECONDS)
    assert not running[0].ended.is_set()
    assert running[0].pieces[-1].num_tokens < CONTEXT - 8
    for ticket in tickets:
        engine.cancel(ticket)  # some have ended: nothing happens
    until(lambda: (engine.load().active, engine.load().waiting) == (0, 0))


def test_who_waits_and_cancels_is_never_begun(engine):
    long = Generation(prompt=(300, 301), max_tokens=CONTEXT - 8)
    running = [Answer() for _ in range(SLOTS)]
    tickets = [engine.submit(long, answer.take) for answer in running]
    waiting = Answer()
    engine.cancel(engine.submit(long, waiting.take))
    assert all(answer.ended.wait(LIMIT_SECONDS) for answer in running)
    assert waiting.pieces == []
    assert len(set(tickets)) == SLOTS


@ONE_LAYOUT
def test_a_prompt_that_cannot_be_read_costs_itself_alone(engine, model):
    _, made, tokenizer = model
    good = Generation(prompt=tuple(tokenizer.encode(PROMPTS[3]).ids), max_tokens=24, ends=frozenset({0, 2}))
    bad = Generation(prompt=(300, 10**6), max_tokens=4)
    told = ask(engine, good, bad, good, bad)
    assert [answer.pieces[-1].finish == GIVEN_UP for answer in told] == [False, True, False, True]
    right = tokenizer.decode(greedy(made, list(good.prompt), 24))
    assert [said(told[0], tokenizer), said(told[2], tokenizer), said(ask(engine, good)[0], tokenizer)] == [right] * 3


@ONE_LAYOUT
def test_one_that_goes_wrong_among_others_costs_itself_alone(model, tmp_path):
    """In the step that all share, and when its token is chosen."""
    folder, made, tokenizer = model
    engine = load("torch", folder, tmp_path, slots=3, context=48)
    good = Generation(prompt=tuple(tokenizer.encode(PROMPTS[3]).ids), max_tokens=24, ends=frozenset({0, 2}))
    beyond = Generation(prompt=tuple(range(300, 340)), max_tokens=30)  # it comes to the end of its slot
    strange = Generation(prompt=(300, 301), max_tokens=4, logprobs=10**6)
    told = ask(engine, beyond, good, strange, good)
    assert [answer.pieces[-1].finish for answer in told[::2]] == [GIVEN_UP, GIVEN_UP]
    right = [one for one in greedy(made, list(good.prompt), 24) if one not in (0, 2)]
    assert [told[1].tokens, told[3].tokens] == [right, right]
    assert len(told[0].tokens) == 9  # 48 positions
    with pytest.raises(Fault, match="cannot read this text") as failed:
        engine.embed([300, 10**6])
    assert failed.value.code == "generation_failed"
    assert len(engine.embed([300])) == 64
    assert ask(engine, good)[0].tokens == right
    assert (engine.load().active, engine.load().waiting) == (0, 0)
    engine.close()


def test_closing_leaves_nobody_waiting(model, tmp_path):
    engine = load("torch", model[0], tmp_path, slots=1)
    answers = [Answer() for _ in range(3)]
    for answer in answers:
        engine.submit(Generation(prompt=(300, 301), max_tokens=CONTEXT - 8), answer.take)
    engine.close()
    assert all(answer.ended.wait(LIMIT_SECONDS) for answer in answers)
    assert answers[-1].pieces[-1].finish == FAILED


def test_long_prompts_are_read_in_chunks_while_others_go_on(model, tmp_path):
    folder, made, _ = model
    options = EngineOptions(slots=2, context=256, precision="fp32", threads=1, memory_bytes=4 << 30)
    loop = importlib.import_module("baray.serve.engines.torch_loop")
    prompt = tuple(300 + number % 200 for number in range(200))
    short, long = Generation(prompt=(301, 302), max_tokens=60), Generation(prompt=prompt, max_tokens=24)
    before, loop.CHUNK_TOKENS = loop.CHUNK_TOKENS, 32
    engine = loop.load_torch(folder, tmp_path, options)
    try:
        told = ask(engine, short, long)
    finally:
        engine.close()
        loop.CHUNK_TOKENS = before
    assert told[1].tokens == greedy_without_ends(made, list(prompt), 24)
    assert told[0].tokens == greedy_without_ends(made, [301, 302], 60)


def greedy_without_ends(made, prompt, number):
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        for _ in range(number):
            ids = torch.cat([ids, made(ids).logits[:, -1:].argmax(-1)], 1)
    return ids[0, len(prompt) :].tolist()


def test_embeddings_are_the_mean_of_the_last_hidden_states(model, tmp_path):
    folder, made, tokenizer = model
    ids = tokenizer.encode(PROMPTS[0]).ids
    with torch.inference_mode():
        right = made.model(torch.tensor([ids])).last_hidden_state[0].mean(0)
    engine = load("torch", folder, tmp_path)
    found = engine.embed(ids)
    engine.close()
    assert torch.allclose(torch.tensor(found), right, atol=1e-4)


@ONE_LAYOUT
def test_an_engine_without_embeddings_says_so(model, tmp_path):
    engine = load("llamacpp", model[0], tmp_path)
    with pytest.raises(Refused, match="engine torch"):
        engine.embed([1, 2])
    engine.close()


@pytest.mark.parametrize(("name", "precision"), [("torch", "bf16"), ("llamacpp", "bf16"), ("llamacpp", "q8_0")])
def test_less_than_fp32_chooses_tokens_that_are_nearly_the_best(name, precision, model, tmp_path):
    folder, made, tokenizer = model
    engine = load(name, folder, tmp_path, precision)
    assert not engine.exact
    ids = tokenizer.encode(PROMPTS[3]).ids
    (answer,) = ask(engine, Generation(prompt=tuple(ids), max_tokens=1, logprobs=1))
    engine.close()
    token = answer.pieces[0].choices[0].token
    with torch.inference_mode():
        logits = made(torch.tensor([ids])).logits[0, -1]
    assert math.isfinite(float(logits[token]))
    assert float(logits.max() - logits[token]) < 0.1 * float(logits.std())


@ONE_LAYOUT
def test_the_adapter_of_vllm_starts_asks_cancels_and_ends(model, tmp_path, monkeypatch):
    """Against a program that speaks as vLLM does: vLLM itself needs a GPU."""
    folder, made, tokenizer = model
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    speaker = Path(__file__).parents[1] / "speaking_vllm.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {speaker} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    engine = load("vllm", folder, tmp_path / "work", slots=2)
    ids = tokenizer.encode(PROMPTS[3]).ids
    wanted = Generation(prompt=tuple(ids), max_tokens=24, ends=frozenset({0, 2}))
    right = greedy(made, ids, 24)
    for answer in ask(engine, wanted, wanted, wanted):
        assert said(answer, tokenizer) == tokenizer.decode(right)
        assert answer.pieces[-1].num_tokens == len(right)
    (refused,) = ask(engine, replace(wanted, prompt=(300, 10**6)))
    assert refused.pieces[-1].finish == GIVEN_UP
    long = Answer()
    ticket = engine.submit(Generation(prompt=(300, 301), max_tokens=CONTEXT - 8), long.take)
    assert long.begun.wait(LIMIT_SECONDS)
    engine.cancel(ticket)
    until(lambda: engine.load().active == 0)
    assert not long.ended.is_set()
    assert alive_with(str(speaker))
    engine.close()
    assert not alive_with(str(speaker))


@ONE_LAYOUT
def test_without_vllm_its_engine_says_so(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="not installed"):
        load("vllm", model[0], tmp_path / "work")


@ONE_LAYOUT
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model_type": "gpt2"}, "unknown_layout"),
        ({"attention_bias": True}, "unknown_layout"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "unknown_layout"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "unknown_layout"),
        ({"rope_parameters": STRETCHES["llama3"] | {"high_freq_factor": 1}}, "unknown_layout"),
        ({"rope_parameters": STRETCHES["linear"] | {"factor": 0.5}}, "unknown_layout"),
        ({"rope_parameters": STRETCHES["linear"] | {"rope_theta": "1e4"}}, "unknown_layout"),
        ({"num_key_value_heads": 3}, "unknown_layout"),
        ({"num_hidden_layers": 4}, "bad_safetensors"),
        ({"max_position_embeddings": 64}, "bad_option"),
    ],
)
def test_a_model_that_is_not_computed_here_is_refused(model, tmp_path, change, code):
    for file in model[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(Refused) as refused:
        load("torch", tmp_path, tmp_path / "work")
    assert refused.value.code == code


@ONE_LAYOUT
def test_damaged_weights_and_pickles_are_refused(model, tmp_path):
    for file in model[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    good = weights.read_bytes()
    for bad in (b"", good[:4], b"\xff" * 64, good[: len(good) // 2], good.replace(b'"F32"', b'"I64"', 1)):
        weights.write_bytes(bad)
        with pytest.raises(Refused, match="Model") as refused:
            load("torch", tmp_path, tmp_path / "work")
        assert refused.value.code == "bad_safetensors"
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(Refused, match="pickles"):
        load("torch", tmp_path, tmp_path / "work")


@ONE_LAYOUT
def test_what_does_not_fit_is_refused_before_it_is_loaded(model):
    module = importlib.import_module("baray.serve.engines.layout")
    layout = module.read_layout(model[0])
    with pytest.raises(Refused, match="do not fit"):
        module.fit(layout, EngineOptions(slots=8, context=192, memory_bytes=500 << 20))
    context, precision = module.fit(layout, EngineOptions(slots=8, memory_bytes=2 << 30))
    assert (context, precision) == (256, "fp32")


def test_a_flood_of_texts_to_embed_keeps_no_prompt_out(tmp_path):
    (tmp_path / "model").mkdir()
    make_model(tmp_path / "model")
    engine = load("torch", tmp_path / "model", tmp_path / "work")
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            engine.embed([1] * 150)

    floods = [threading.Thread(target=flood) for _ in range(8)]
    for one in floods:
        one.start()
    try:
        (answer,) = ask(engine, Generation(prompt=(1, 2, 3), max_tokens=4))
        assert answer.pieces[-1].finish
    finally:
        stop.set()
        for one in floods:
            one.join(LIMIT_SECONDS)
        engine.close()
