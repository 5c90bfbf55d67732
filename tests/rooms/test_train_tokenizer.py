"""The recipe `tokenizer`: deterministic, lossless, at home in Khmer, and opened by others."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_datasets import context_for, sentences, text_input
from tokenizers import Tokenizer

from baray.core import Refused
from baray.train.config import Tokenizer as Config
from baray.train.config import read_options
from baray.train.tokenizer.handler import train
from baray.train.tokenizer.learning import SPECIAL_TOKENS

KINDS = ("bpe", "unigram")


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """Folder and Output of one tokenizer of each kind, learnt from 60 Documents."""
    folder = tmp_path_factory.mktemp(request.param)
    dataset = text_input(folder / "in", sentences(60))
    options = {"kind": request.param, "vocab": 700, "held_out": 20}
    (output,) = train(context_for(folder, "tokenizer", [dataset], options))
    return folder / "out" / "made", output


def test_files_of_a_version(made):
    folder, output = made
    assert [file.path for file in output.files] == [
        "README.md", "bom.json", "evaluation.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(8))
    assert tokenizer.get_vocab_size() == output.summary["vocab"] <= 700
    assert set(output.summary["fertility"]) == {"km", "en"}
    assert json.loads((folder / "bom.json").read_text())["metadata"]["component"]["version"] == output.digest


def test_fertility_is_measured_on_what_was_held_out(made):
    folder, _ = made
    evaluation = json.loads((folder / "evaluation.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    khmer = evaluation["fertility"]["km"]
    assert 1 <= evaluation["fertility"]["all"]["documents"] < 30
    assert khmer["tokens_per_character"] == round(khmer["tokens"] / khmer["characters"], 4)
    assert evaluation["fertility"]["all"]["tokens"] == khmer["tokens"] + evaluation["fertility"]["en"]["tokens"]
    assert evaluation["changed_by_a_round_trip"] == 0
    # GPT-2's words end at every Khmer vowel sign; ours do not.
    assert khmer["tokens_per_character"] < 0.6 * evaluation["gpt2_pattern"]["km"]["tokens_per_character"]
    assert len(tokenizer.encode("ការិយាល័យ").ids) < 6
    card = (folder / "README.md").read_text()
    assert f"{khmer['tokens_per_character']:.3f}" in card


def test_the_same_documents_give_the_same_tokenizer_in_another_process(made, tmp_path):
    _folder, output = made
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from text_datasets import context_for, sentences, text_input\n"
        "from baray.train.tokenizer.handler import train\n"
        "folder = Path(sys.argv[2]); dataset = text_input(folder / 'in', sentences(60), shards=3)\n"
        "options = {'kind': sys.argv[3], 'vocab': 700, 'held_out': '20%'}\n"
        "print(train(context_for(folder, 'tokenizer', [dataset], options))[0].digest)"
    )
    kind = output.summary["kind"]
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == output.digest


def test_any_text_comes_back_from_its_tokens(made):
    folder, _ = made
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True

    @settings(max_examples=60, deadline=None)
    @given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="▁"), max_size=60))
    def comes_back(text):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert not set(ids) & set(range(8))

    comes_back()
    for text in ("<|endoftext|>", "<|im_start|>x<|im_end|>", "<0x41>", "ក្រុម\u200bជំនុំ \t\r\n\n  ១២៣ 🎉"):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert not set(ids) & set(range(8)), "a text that spells a special token stays text"


def test_a_single_long_document_is_parted(tmp_path):
    long = {"id": "book", "text": "\n".join(row["text"] for row in sentences(60)), "language": "km", "label": "public"}
    (output,) = train(context_for(tmp_path, "tokenizer", [text_input(tmp_path / "in", [long])], {"vocab": 600}))
    assert output.summary["fertility"]["km"] > 0


def test_what_cannot_be_learnt_from_is_refused(tmp_path):
    with pytest.raises(Refused) as caught:
        train(context_for(tmp_path, "tokenizer", [text_input(tmp_path / "in", sentences(1))]))
    assert caught.value.code == "too_few_documents"
    for options in ({"kind": "words"}, {"vocab": 10}, {"vocab": "many"}, {"depth": 1}):
        with pytest.raises(Refused) as caught:
            read_options(Config, options)
        assert caught.value.code == "bad_option"


def test_transformers_opens_them(tmp_path):
    folders = []
    for kind in KINDS:
        dataset = text_input(tmp_path / kind / "in", sentences(60))
        train(context_for(tmp_path / kind, "tokenizer", [dataset], {"kind": kind, "vocab": 700}))
        folders.append(tmp_path / kind / "out" / "made")
    program = (
        "import sys; from transformers import AutoTokenizer\n"
        "for folder in sys.argv[2:]:\n"
        "    found = AutoTokenizer.from_pretrained(folder, local_files_only=True)\n"
        "    ids = found(sys.argv[1])['input_ids']\n"
        "    print(ids, found.decode(ids) == sys.argv[1], found.eos_token_id, found.pad_token_id, len(found))"
    )
    text = "មន្ត្រីស្វាគមន៍ពលរដ្ឋ and 12 citizens."
    command = [sys.executable, "-c", program, text, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"HF_HUB_OFFLINE": "1", "PATH": ""})
    ours = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in folders]
    assert done.stdout.splitlines() == [f"{one.encode(text).ids} True 0 0 {one.get_vocab_size()}" for one in ours]


def test_it_learns_from_what_its_memory_holds(tmp_path):
    rows = [{**row, "text": row["text"] + f" {number**5:x}"} for number, row in enumerate(sentences(200))]
    context = context_for(tmp_path, "tokenizer", [text_input(tmp_path / "in", rows)], {"vocab": 600})
    small = replace(context, memory_bytes=2_000_000, out=tmp_path / "small")
    (first,), (second,) = train(small), train(context)
    log = (tmp_path / "log").read_text().splitlines()
    assert "learns from" in log[0]
    assert "--memory" in log[0]
    assert "learns from" not in log[2]
    assert first.digest != second.digest
