"""The recipe `lm`: what it plans, what its network computes, and that others open what it writes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from lm_tokens import TINY, documents, lm_context, mounted, write_tokens
from torch.nn import functional

from baray.core import Refused, digest_file
from baray.train.config import Lm, read_options
from baray.train.lm.handler import train
from baray.train.lm.model import Network, Shape, attend, document_mask, segments_of
from baray.train.lm.optim import orthogonal, rate
from baray.train.lm.plan import check_time, make_plan, shape_for
from baray.train.lm.shards import Windows, open_tokens

PROMPTS = ("the land", "ជំរាប", "office asks", "water fee on", "Monday")
SMALL = Shape(vocab=384, width=64, layers=2, heads=4, kv_heads=2, head_dim=16, hidden=128, context=32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents())


@pytest.fixture(scope="module")
def made(tmp_path_factory, source):
    """A small model: (folder of its files, its Output, folder of the Run, its log)."""
    run, lines = tmp_path_factory.mktemp("run"), []
    (output,) = train(lm_context(run, source, lines=lines))
    return run / "attempt-1" / "out" / "small", output, run, lines


def test_the_files_are_those_of_the_output(made):
    folder, output, _, _ = made
    assert {file.path for file in output.files} == {path.name for path in folder.iterdir()}
    assert {file.path for file in output.files} >= {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "chat_template.jinja", "evaluation.json", "README.md", "bom.json",
    }  # fmt: skip
    assert all(file.digest == digest_file(folder / file.path) for file in output.files)
    assert output.summary["params"] == sum(
        tensor.numel() for tensor in safetensors.torch.load_file(folder / "model.safetensors").values()
    )


def test_transformers_opens_it_with_equal_scores_and_greedy_tokens(made):
    folder, _, _, _ = made
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    shape = shape_for(60_000, vocab=theirs.config.vocab_size, context=32)
    ours = Network(shape)
    ours.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        greedy = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None
        )
        for _ in range(24):
            with torch.no_grad():
                scores = ours.scores(ours.hidden(ids, torch.zeros_like(ids)))
                torch.testing.assert_close(scores, theirs(ids).logits, atol=1e-5, rtol=1e-5)
            ids = torch.cat([ids, scores[:, -1].argmax(-1, keepdim=True)], dim=1)
        assert ids.tolist() == greedy.tolist()


def test_the_chat_template_is_chatml(made):
    tokenizer = transformers.AutoTokenizer.from_pretrained(made[0])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "fee?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nfee?<|im_end|>\n<|im_start|>assistant\n"


def test_the_log_says_what_it_will_be_before_the_first_step(made):
    lines = made[3]
    first = next(number for number, line in enumerate(lines) if line.startswith("step "))
    told = "\n".join(lines[:first])
    assert "24 steps of 256 tokens = 6,144 tokens" in told
    assert all(word in told for word in ("FLOPs", "memory", "disk", "numbers", "fp32, muon"))


def test_it_learns_and_tells_each_step_once(made):
    _, output, run, _ = made
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    loss = [line["value"] for line in lines if line["name"] == "loss"]
    assert [line["step"] for line in lines if line["name"] == "loss"] == list(range(1, 25))
    assert loss[-1] < 0.6 * loss[0]
    assert {line["name"] for line in lines} == {
        "loss", "held_out_loss", "bits_per_byte", "lr", "tokens_per_second", "grad_norm",
    }  # fmt: skip
    bits = output.summary["bits_per_byte"]
    assert set(bits) == {"model", "unigram", "trigram", "lzma"}
    # The stream that is looked at while training goes on counts the ends of Documents, too.
    assert bits["model"] == pytest.approx(
        [line["value"] for line in lines if line["name"] == "bits_per_byte"][-1], rel=0.1
    )
    assert bits["model"] < bits["unigram"]


def test_no_position_looks_ahead_or_into_another_document():
    network = Network(SMALL, seed=3)
    ids = torch.randint(1, 384, (1, 32), generator=torch.Generator().manual_seed(1))
    ids[0, 10] = 0  # opens the second Document
    changed = ids.clone()
    changed[0, :10] = 7
    changed[0, 20:] = 9
    with torch.no_grad():
        before, after = (network.hidden(one, segments_of(one, 0)) for one in (ids, changed))
    assert torch.equal(before[0, 10:20], after[0, 10:20])
    assert not torch.equal(before[0, :10], after[0, :10])


@pytest.mark.parametrize("positions", [1, 31, 129, 700])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_that_of_torch(positions, heads):
    chance = torch.Generator().manual_seed(positions)
    q, k, v = (
        torch.randn(2, count, positions, 16, generator=chance, requires_grad=True) for count in (2, heads, heads)
    )
    mask = document_mask(segments_of(torch.randint(0, 40, (2, positions), generator=chance), 0))
    theirs = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    ours = attend(q, k, v, mask)
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(one.square().sum(), (q, k, v)) for one in (ours, theirs))
    torch.testing.assert_close(*gradients)


def test_what_a_step_freed_later_ones_have():
    """In a process of its own: of sixteen large pieces hardly one comes as empty pages; as glibc is set, all do.

    Where a small piece came to lie behind a large one, which the random start of the heap decides, one or two are taken anew.
    """
    program = """
import resource, sys, torch
from baray.train.lm.process import set_up
if sys.argv[1] == "kept":
    set_up(threads=1, exact=True)
for _ in range(4):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    kept, as_it_is = (
        int(subprocess.run([sys.executable, "-c", program, way], check=True, capture_output=True, text=True).stdout)
        for way in ("kept", "as it is")
    )
    assert as_it_is > 1000
    assert kept < as_it_is / 4


def test_muon_makes_matrices_nearly_orthogonal():
    updates = torch.randn(3, 48, 32, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(updates))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_the_rate_warms_up_holds_and_ends_near_zero():
    rates = [rate(step, 1000, 0.01) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01 / 50)
    assert rates[49:800] == [0.01] * 751
    assert rates[-1] < 0.0001
    assert rates[800:] == sorted(rates[800:], reverse=True)


@pytest.mark.parametrize("params", [60_000, 1_000_000, 10_000_000, 124_000_000, 1_000_000_000])
def test_the_network_has_about_as_many_numbers_as_were_asked_for(params):
    shape = shape_for(params, vocab=min(32_768, params // 300), context=256)
    assert abs(shape.params / params - 1) < 0.1
    assert shape.vocab % 128 == 0


def test_a_training_that_does_not_fit_is_refused_before_it_starts(source, tmp_path):
    with pytest.raises(Refused, match=r"need .* of memory") as refused:
        make_plan(read_options(Lm, {"params": "1b"}), vocab=8192, memory_bytes=2 * 2**30)
    assert refused.value.code == "does_not_fit"
    assert "--memory" in refused.value.fix
    with pytest.raises(Refused, match=r"takes about .* may take 1 h"):
        check_time(7200.0, 3600.0)
    check_time(7200.0, 0.0)
    with pytest.raises(Refused) as refused:
        train(lm_context(tmp_path, mounted(tmp_path / "text", {"data/part-0.parquet": b"x"})))
    assert refused.value.code == "not_tokens"


@pytest.mark.parametrize("options", [{"params": "many"}, {"budget": "0s"}, {"params": "10"}, {"precision": "fp8"}])
def test_options_that_say_nothing_are_refused(options):
    with pytest.raises(Refused):
        read_options(Lm, TINY | options)


def test_a_budget_becomes_steps(source, tmp_path):
    lines: list[str] = []
    (output,) = train(lm_context(tmp_path / "budget", source, lines=lines, steps="0", budget="2s", precision="auto"))
    assert output.summary["steps"] > 5
    assert output.summary["tokens"] == output.summary["steps"] * 256
    # What was measured is told as a command that names no time: it gives the same bytes.
    words = shlex.split(output.summary["again"])
    assert words[:3] == ["baray", "train", "lm"]
    told = dict(word.split("=", 1) for word in words if "=" in word)
    assert "budget" not in told
    assert "auto" not in told.values()
    (again,) = train(lm_context(tmp_path / "again", source, **told))
    assert again.digest == output.digest
    assert again.summary["again"] == output.summary["again"]
    assert output.summary["again"] in (tmp_path / "budget/attempt-1/out/small/README.md").read_text()


def test_windows_come_in_the_order_of_the_seed(source):
    tokens = open_tokens({file.path: file.blob for file in source.files})
    one, same, other = (Windows(tokens, 32, seed).batch(3, 4) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert one.shape == (4, 33)


def test_files_of_the_version_hold_no_path_of_the_machine(made):
    for path in made[0].iterdir():
        assert str(Path.cwd()) not in path.read_bytes().decode("utf-8", errors="replace")
