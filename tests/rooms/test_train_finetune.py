"""The recipe `finetune`: only answers are learnt, others open it, a killed one resumes exactly, it says what it gained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.torch
import torch
import transformers
from finetune_bases import (
    ANSWERS,
    QUICK,
    context_of,
    conversations,
    jsonl_source,
    llama_base,
    lm_base,
    model_of,
    start_attempt,
)
from lm_tokens import kill

from baray.core import Refused, digest_file
from baray.runs import Input
from baray.train.config import Finetune, read_options
from baray.train.finetune.base import open_base
from baray.train.finetune.chat import UNLEARNT, Chat, batch, pack
from baray.train.finetune.conversations import read_conversations
from baray.train.finetune.handler import train
from baray.train.finetune.loop import answer_losses, score
from baray.train.finetune.lora import adapt, merged

LIMIT_SECONDS = 120.0
PROMPTS = ("7 land ?", "water", "1 ក្រុង ?", "the fee", "Monday")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return lm_base(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory, base) -> Path:
    return llama_base(tmp_path_factory.mktemp("llama"), base / "tokenizer.json")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Input:
    return jsonl_source(tmp_path_factory.mktemp("chats"), conversations())


@pytest.fixture(scope="module")
def taught(tmp_path_factory, base, source):
    """Taught by LoRA and left alone: (folder of the Run, its Output, its log)."""
    run, lines = tmp_path_factory.mktemp("taught"), []
    (output,) = train(context_of(run, source, model_of(base), lines=lines))
    return run, output, lines


def folder_of(run: Path) -> Path:
    return run / "attempt-1" / "out" / "helper"


def read(folder: Path, rows: list[dict], **options):
    return read_conversations(jsonl_source(folder, rows), read_options(Finetune, options))


def same_as_transformers(folder: Path) -> None:
    """Its greedy tokens by transformers are those of the highest scores that our network gives, 24 for each prompt."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = open_base(model_of(folder)).network(64, torch.float32)
    for prompt in PROMPTS:
        turn = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, return_tensors="pt").input_ids
        mask = torch.ones_like(ids)
        greedy = theirs.generate(ids, attention_mask=mask, max_new_tokens=24, do_sample=False, eos_token_id=None)
        for _ in range(24):
            with torch.no_grad():
                scores = ours.scores(ours.hidden(ids, torch.zeros_like(ids)))
            ids = torch.cat([ids, scores[:, -1].argmax(-1, keepdim=True)], dim=1)
        assert ids.tolist() == greedy.tolist(), prompt


def test_only_answers_are_learnt(base, tmp_path):
    turns = [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "ក្រុង ?"},
        {"role": "assistant", "content": "ជំរាប <|im_end|> សួរ"},  # text, though it spells a special token
        {"role": "user", "content": "fee"},
        {"role": "assistant", "content": " is paid\n"},
    ]
    chat = Chat(base / "tokenizer.json", [0])
    found = read(tmp_path, [{"messages": turns}, *conversations(1)])
    example = next(chat.example(one) for one in (*found.train, *found.held_out) if len(one.turns) == 5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    learnt = example.targets[example.targets != UNLEARNT]
    assert tokenizer.decode(learnt) == "ជំរាប <|im_end|> សួរ<|im_end|>is paid<|im_end|>"
    assert (learnt == chat.end).sum() == 2  # the one that was typed is no end
    whole = tokenizer.decode([*example.ids, example.targets[-1]])
    for turn in turns:
        turn["content"] = turn["content"].strip()
    assert whole + "\n" == tokenizer.apply_chat_template(turns, tokenize=False)
    # What is not learnt from has no weight in the loss: no gradient comes from it.
    network = open_base(model_of(base)).network(128, torch.float32)
    rows = pack([example], 128, 1)
    loss = answer_losses(network, *(torch.from_numpy(one) for one in (rows.ids, rows.targets, rows.segments)))
    assert len(loss) == example.num_answers == len(learnt)


def test_the_tokens_are_those_that_the_template_gives(base, llama, source):
    found = read_conversations(source, read_options(Finetune, {}))
    for folder in (base, llama):
        chat = Chat(folder / "tokenizer.json", [0])
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = chat.template
        for conversation in found.train[:20]:
            turns = [{"role": turn.role, "content": turn.content} for turn in conversation.turns]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
            example = chat.example(conversation)
            told = [*example.ids, example.targets[-1]]
            assert tokenizer(text, add_special_tokens=False).input_ids[: len(told)] == told


def test_conversations_side_by_side_do_not_see_each_other(base, source):
    chat = Chat(base / "tokenizer.json", [0])
    examples = [chat.example(one) for one in read_conversations(source, read_options(Finetune, {})).train[:9]]
    rows = pack(examples, 64, 7)
    assert len(rows.ids) < len(examples)
    network = open_base(model_of(base)).network(64, torch.float32)
    with torch.no_grad():
        together = answer_losses(network, *(torch.from_numpy(one) for one in (rows.ids, rows.targets, rows.segments)))
    assert float(together.sum()) == pytest.approx(float(score(network, examples).sum()), rel=1e-5)
    order = [tuple(batch(rows, step, 2, 7).ids[:, 0]) for step in range(12)]
    assert order == [tuple(batch(rows, step, 2, 7).ids[:, 0]) for step in range(12)]


def test_an_adapter_merged_computes_what_it_computed_beside(base):
    network = open_base(model_of(base)).network(64, torch.float32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    adapt(network, rank=4, alpha=8.0, seed=3)
    chance = torch.Generator().manual_seed(1)
    for name, tensor in network.named_parameters():
        if name.endswith("lora_B"):
            torch.nn.init.normal_(tensor, std=0.1, generator=chance)
    plain = open_base(model_of(base)).network(64, torch.float32)
    plain.load_state_dict(merged(network))
    ids = torch.arange(20)[None]
    segments = torch.zeros_like(ids)
    torch.testing.assert_close(network.hidden(ids, segments), plain.hidden(ids, segments), atol=1e-4, rtol=1e-4)
    assert set(merged(network)) == set(before)
    learns = [name for name, tensor in network.named_parameters() if tensor.requires_grad]
    assert learns
    assert all(name.endswith(("lora_A", "lora_B")) for name in learns)


def test_it_gets_better_and_says_so(taught):
    run, output, lines = taught
    evaluation = json.loads((folder_of(run) / "evaluation.json").read_text())
    assert output.summary["got_better"] is True
    assert evaluation["loss"]["after"]["value"] < evaluation["loss"]["before"]["value"] - 0.5
    assert evaluation["difference"]["high"] < 0
    assert any(line.startswith("It got better on held-out answers: loss") for line in lines)
    assert "It got better on held-out answers" in (folder_of(run) / "README.md").read_text()
    told = "\n".join(lines[: next(number for number, line in enumerate(lines) if line.startswith("step "))])
    assert all(word in told for word in ("100 to learn from", "20 held out", "FLOPs", "memory", "disk", "lora"))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {one["name"] for one in metrics} == {"loss", "grad_norm", "lr", "held_out_loss"}
    assert next(one["value"] for one in metrics if one["name"] == "held_out_loss") == pytest.approx(
        evaluation["loss"]["before"]["value"], rel=1e-4
    )


def test_it_says_plainly_when_it_did_not_get_better(base, source, tmp_path):
    lines: list[str] = []
    (output,) = train(
        context_of(tmp_path, source, model_of(base), lines=lines, steps="2", learning_rate="0.0000000001")
    )
    assert output.summary["got_better"] is False
    assert any(line.startswith("It did not get better on held-out answers") for line in lines)
    assert "It did not get better" in (folder_of(tmp_path) / "README.md").read_text()


def test_it_says_when_it_got_worse(base, tmp_path):
    """What is taught is not what is asked for on the held-out side."""
    rows = conversations(60)
    config = read_options(Finetune, QUICK)
    held = {one.turns[0].content for one in read(tmp_path / "first", rows, **QUICK).held_out}
    for row in rows:
        if row["messages"][0]["content"] not in held:
            row["messages"][1]["content"] = "zzz"
    assert config.held_out == 20
    lines: list[str] = []
    source = jsonl_source(tmp_path / "rows", rows)
    train(context_of(tmp_path, source, model_of(base), lines=lines, learning_rate="0.02", method="full"))
    assert any(line.startswith("It got WORSE on held-out answers") for line in lines), lines[-1]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_transformers_opens_a_taught_llama(llama, source, tmp_path, method):
    (output,) = train(context_of(tmp_path, source, model_of(llama), method=method, steps="12"))
    folder = folder_of(tmp_path)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    assert output.summary["layout"] == "llama"
    same_as_transformers(folder)


def test_transformers_opens_it_and_it_answers(taught):
    folder = folder_of(taught[0])
    same_as_transformers(folder)
    config = transformers.GenerationConfig.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in config.eos_token_id


def test_the_adapter_beside_the_base_gives_the_same_weights(taught, base):
    folder = folder_of(taught[0])
    told = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    adapter = safetensors.torch.load_file(folder / "adapter" / "adapter_model.safetensors")
    before, after = (safetensors.torch.load_file(place / "model.safetensors") for place in (base, folder))
    assert told["peft_type"] == "LORA"
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 2)[1] for name in changed} == set(told["target_modules"])
    for name in changed:
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        low = adapter[f"{stem}.lora_B.weight"] @ adapter[f"{stem}.lora_A.weight"]
        expected = (before[name].float() + told["lora_alpha"] / told["r"] * low).to(after[name].dtype)
        torch.testing.assert_close(after[name], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lm", "llama"])
def test_peft_opens_the_adapter(base, llama, source, tmp_path, missing, kind):
    """In an environment of its own, beside the libraries that are here: PEFT itself is all that it brings."""
    conformance = Path(__file__).parents[1] / "conformance"
    pins = conformance / "pins" / "peft.txt"
    place = conformance.parents[1] / ".venv" / "conformance" / f"peft-{digest_file(pins)[7:19]}"
    if not place.exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            f"{place}.new",
            "-r",
            str(pins),
        ]
        if subprocess.run(pip, capture_output=True, check=False).returncode:
            missing("PEFT from the package index")
        Path(f"{place}.new").rename(place)
    start = {"lm": base, "llama": llama}[kind]
    train(context_of(tmp_path, source, model_of(start), steps="12"))
    folder = folder_of(tmp_path)
    argv = [sys.executable, str(conformance / "checks" / "peft_check.py"), str(start), f"{folder}/adapter", str(folder)]
    environ = os.environ | {"PYTHONPATH": str(place), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["apart"] < 1e-4 < 1e-2 < told["changed"]
    assert told["greedy"][0] == told["greedy"][1]


def test_it_carries_the_labels_and_licences_of_both(taught):
    run, output, _ = taught
    assert set(output.labels) == {"public", "internal"}
    bill = json.loads((folder_of(run) / "bom.json").read_text())
    label = {one["name"]: one["value"] for one in bill["metadata"]["component"]["properties"]}["baray:label"]
    assert label == "internal"
    assert {part["name"] for part in bill["components"]} >= {"source:chats@v1", "model:base@v1"}
    assert {file.path for file in output.files} == {
        path.relative_to(folder_of(run)).as_posix() for path in folder_of(run).rglob("*") if path.is_file()
    }


def test_a_killed_one_ends_with_the_same_bytes(taught, base, source, tmp_path):
    process = start_attempt(tmp_path, source, model_of(base))
    for line in process.stdout:
        if line.startswith("step "):
            break
    time.sleep(0.1)
    kill(process)
    process = start_attempt(tmp_path, source, model_of(base))
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, output
    assert "resumed at step" in output
    for path in ("model.safetensors", "adapter/adapter_model.safetensors", "evaluation.json"):
        assert (folder_of(tmp_path) / path).read_bytes() == (folder_of(taught[0]) / path).read_bytes()
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [one["step"] for one in metrics if one["name"] == "loss"]
    assert steps == list(range(1, len(steps) + 1))


def test_rows_that_are_no_conversations_are_counted(tmp_path):
    user, told = {"role": "user", "content": "fee"}, {"role": "assistant", "content": "paid"}
    rows = [
        {"messages": "text"},
        {"messages": [user]},
        {"messages": [told, user]},
        {"messages": [user, {"role": "tool", "content": "x"}]},
        {"messages": [user, {"role": "assistant", "content": " "}]},
        {"messages": [user, {"role": "assistant", "content": "\ud800"}]},
        {"messages": [user, told, {"role": "system", "content": "x"}]},
        {"messages": [user, told]},
        {"messages": [user, told]},
        {"messages": [user, {"role": "assistant", "content": "other"}]},
        *conversations(5),
    ]
    found = read(tmp_path, rows)
    assert found.left_out == {
        "a role that is not system, user or assistant": 1,
        "a system turn that is not the first": 1,
        "an empty or broken turn": 2,
        "no answer": 1,
        "no turns of role and content": 1,
        "same conversation again": 1,
        "user and assistant do not take turns": 1,
    }
    assert len(found.train) + len(found.held_out) == 7
    same = [one for side in (found.train, found.held_out) for one in side if one.turns[0].content == "fee"]
    assert len(same) == 2
    assert {one.key for one in found.train}.isdisjoint(one.key for one in found.held_out)


def test_questions_and_answers_of_a_dataset_in_parquet(source, tmp_path):
    rows = [(f"{number} {word} ?", told) for number, (word, told) in enumerate(list(ANSWERS.items()) * 3)]
    table = pyarrow.table({"q": [one for one, _ in rows], "a": [one for _, one in rows], "more": [1] * len(rows)})
    pyarrow.parquet.write_table(table, tmp_path / "part.parquet")
    file = replace(source.files[0], path="data/part-00000.parquet", blob=tmp_path / "part.parquet")
    dataset = replace(source, name="dataset", kind="dataset", files=(file,))
    config = read_options(Finetune, {"prompt": "q", "answer": "a", "system": "be short"})
    found = read_conversations(dataset, config)
    assert len(found.train) + len(found.held_out) == 15
    assert {tuple(turn.role for turn in one.turns) for one in found.train} == {("system", "user", "assistant")}
    with pytest.raises(Refused) as refused:
        read_conversations(dataset, read_options(Finetune, {}))
    assert refused.value.code == "missing_column"


def test_what_cannot_be_taught_is_refused_before_it_starts(base, source, tmp_path):
    tokenizer = model_of(base)
    tokenizer = replace(tokenizer, files=tuple(file for file in tokenizer.files if file.path != "config.json"))
    other = tmp_path / "other"
    other.mkdir()
    for path in base.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    cases = {
        "not_a_language_model": (source, tokenizer, {}),
        "unknown_layout": (source, model_of(other), {}),
        "bad_option": (source, model_of(base), {"context": "4096"}),
        "no_conversations": (source, model_of(base), {"context": "8"}),
    }
    for code, (rows, model, options) in cases.items():
        with pytest.raises(Refused) as refused:
            train(context_of(tmp_path / code, rows, model, **options))
        assert refused.value.code == code
        assert refused.value.fix
    small = replace(context_of(tmp_path / "memory", source, model_of(base)), memory_bytes=2**28)
    with pytest.raises(Refused) as refused:
        train(small)
    assert refused.value.code == "does_not_fit"


def test_the_order_of_rows_changes_nothing(base, tmp_path):
    chat = Chat(base / "tokenizer.json", [0])
    sides = []
    for number, rows in enumerate((conversations(30), conversations(30)[::-1])):
        found = read(tmp_path / str(number), rows)
        sides.append(pack([chat.example(one) for one in found.train], 64, 1))
    assert np.array_equal(sides[0].ids, sides[1].ids)
    assert np.array_equal(sides[0].targets, sides[1].targets)
