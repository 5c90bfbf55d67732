"""The recipe `tokens`: every Document's ids and its boundary, nothing lost, whatever the shards; and the windows of `lm`."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from text_datasets import context_for, made_input, output_input, sentences, text_input
from tokenizers import Tokenizer

from baray.core import Refused, digest_file
from baray.data import TokensRecipe, read_options
from baray.data.tokens.handler import build
from baray.text import FEW_DOCUMENTS, choose, parts
from baray.train.lm.shards import Windows, open_tokens, permute
from baray.train.tokenizer.handler import train

ROWS = [*sentences(40), {"id": "empty", "text": " \n", "language": "other", "label": "public"}]
SPELLED = {"id": "trick", "text": "one<|endoftext|>two", "language": "en", "label": "public"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (output,) = train(context_for(folder, "tokenizer", [text_input(folder / "in", ROWS)], {"vocab": 600}))
    return output_input(folder / "out" / "made", output, ref="model:cutter@v1", name="tokenizer", label="restricted")


def build_tokens(folder, tokenizer, rows=ROWS, shards=1, **options):
    context = context_for(folder, "tokens", [text_input(folder / "in", rows, shards=shards), tokenizer], options)
    (output,) = build(context)
    return folder / "out" / "made", output


def paths_of(folder, output):
    return {file.path: folder / file.path for file in output.files}


def test_every_document_is_there_with_its_boundary(tmp_path, tokenizer):
    folder, output = build_tokens(tmp_path, tokenizer, held_out="20%", shard_tokens=2000)
    manifest = json.loads((folder / "manifest.json").read_text())
    cutter = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert manifest["format"] == "baray-tokens/1"
    assert manifest["dtype"] == "uint16"
    assert manifest["eos"] == 0
    held = {row["id"]: row for row in pq.read_table(folder / "data/held_out.parquet").to_pylist()}
    expected = {"train": [], "held_out": []}
    for row in ROWS[:-1]:
        expected["held_out" if row["id"] in held else "train"].append([*cutter.encode(row["text"]).ids, 0])
    for split, documents in expected.items():
        told = manifest["splits"][split]
        ids, starts = [], []
        for shard in told["shards"]:
            found = np.fromfile(folder / shard["path"], dtype="<u2")
            index = np.fromfile((folder / shard["path"]).with_suffix(".idx"), dtype="<u8")
            assert len(found) == shard["tokens"] == index[-1]
            assert digest_file(folder / shard["path"]) == shard["digest"]
            starts += [len(ids) + int(start) for start in index[:-1]]
            ids += found.tolist()
        assert ids == [token for document in documents for token in document]
        assert (len(starts), told["documents"], told["tokens"]) == (len(documents), len(documents), len(ids))
        assert [ids[start - 1] for start in starts[1:]] == [0] * (len(starts) - 1)
    assert len(manifest["splits"]["train"]["shards"]) > 1
    assert manifest["bytes"]["held_out"] == sum(len(row["text"].encode()) for row in held.values())
    assert held["doc-0001" if "doc-0001" in held else min(held)]["label"] == "public"
    assert output.summary["recipe"] == "tokens"
    assert output.labels == ("internal", "restricted")


def test_nothing_is_lost(tmp_path, tokenizer):
    folder, _ = build_tokens(tmp_path, tokenizer)
    report = json.loads((folder / "report.json").read_text())
    assert (report["in"], report["kept"], report["dropped"]) == (41, 40, {"no_text": 1})
    (dropped,) = pq.read_table(folder / "dropped/part-00000.parquet").to_pylist()
    assert (dropped["id"], dropped["reason"]) == ("empty", "no_text")


def test_the_identity_is_that_of_the_tokens(tmp_path, tokenizer):
    _, first = build_tokens(tmp_path / "a", tokenizer)
    _folder, second = build_tokens(tmp_path / "b", tokenizer, shards=3, shard_tokens=1000)
    assert first.digest == second.digest
    assert len([file for file in second.files if file.path.endswith(".bin")]) > 2
    _, other = build_tokens(tmp_path / "c", tokenizer, held_out="40%")
    assert other.digest != first.digest
    # What the two hold side by side is the same stream.
    read = [
        open_tokens(paths_of(tmp_path / name / "out/made", output)) for name, output in (("a", first), ("b", second))
    ]
    assert read[0].num_tokens == read[1].num_tokens
    assert np.array_equal(read[0].read(0, 10**6), read[1].read(0, 10**6))
    assert np.array_equal(read[0].read(990, 40), read[1].read(990, 40))


def test_the_format_is_frozen(tmp_path):
    """Known answer of `baray-tokens/1`: bytes of the shards and the identity."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "c": 3}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "a"}
    special = {"id": 0, "content": "<|endoftext|>", "special": True, "single_word": False}
    special |= {"lstrip": False, "rstrip": False, "normalized": False}
    blank = {"type": "Whitespace"}
    text = json.dumps({"version": "1.0", "added_tokens": [special], "pre_tokenizer": blank, "model": model})
    (folder / "tokenizer.json").write_text(text)
    cutter = made_input(
        "model",
        "model:abc@v1",
        {"tokenizer.json": folder / "tokenizer.json"},
        name="tokenizer",
        digest="sha256:" + "0" * 64,
    )
    rows = [{"id": name, "text": words, "language": "en", "label": "public"} for name, words in
            (("one", "a b c"), ("two", "c c"), ("three", "b"))]  # fmt: skip
    made, output = build_tokens(tmp_path, cutter, rows)
    assert (made / "data/train-00000.bin").read_bytes().hex() == "0100020003000000" + "02000000"
    assert (made / "data/train-00000.idx").read_bytes().hex() == "".join(f"{n:02x}" + "00" * 7 for n in (0, 4, 6))
    assert (made / "data/held_out-00000.bin").read_bytes().hex() == "030003000000"
    assert output.digest == "sha256:f066e92a3d042f4db5313d3afbdb0fd40bf2f14511546ed1cdbd59c905e641c2"


def test_a_text_that_spells_the_boundary_ends_no_document(tmp_path, tokenizer):
    folder, output = build_tokens(tmp_path, tokenizer, [SPELLED, *ROWS])
    for split in ("train", "held_out"):
        tokens = open_tokens(paths_of(folder, output), split)
        assert int((tokens.read(0, tokens.num_tokens) == 0).sum()) == tokens.documents


def test_what_is_no_text_or_no_tokenizer_is_refused(tmp_path, tokenizer):
    folder, output = build_tokens(tmp_path, tokenizer)
    tokens = output_input(folder, output, ref="dataset:tokens@v1", name="dataset")
    with pytest.raises(Refused) as caught:
        build(context_for(tmp_path / "b", "tokens", [tokens, tokenizer]))
    assert caught.value.code == "not_text"
    with pytest.raises(Refused) as caught:
        build(context_for(tmp_path / "c", "tokens", [text_input(tmp_path / "in2", ROWS)]))
    assert caught.value.code == "no_tokenizer"
    with pytest.raises(Refused) as caught:
        open_tokens({})
    assert caught.value.code == "not_tokens"
    for held_out in ("0", "60%", "some"):
        with pytest.raises(Refused) as caught:
            read_options(TokensRecipe, {"held_out": held_out})
        assert caught.value.code == "bad_option"


def test_documents_stay_on_their_side_when_the_dataset_grows():
    few, many = ([f"doc-{number}" for number in range(size)] for size in (200, 2000))
    small, large = choose(few, 10), choose(many, 10)
    assert [small.holds(key) for key in few] == [large.holds(key) for key in few]
    assert 150 < sum(map(large.holds, many)) < 250
    assert sum(map(choose(["a", "b"], 1).holds, "ab")) == 1
    assert sum(map(choose(["a", "b"], 50).holds, "ab")) == 1


def test_parts_of_a_long_document_are_its_text():
    text = "\n".join(f"line {number} " + "x" * 300 for number in range(100)) + "y" * 20_000
    found = list(parts("book", text, few=True))
    assert "".join(part.text for part in found) == text
    assert len({part.id for part in found}) == len(found) > 5
    assert max(len(part.text) for part in found) <= 8000
    assert [part.key for part in parts("book", text, few=False)] == ["book"]
    assert FEW_DOCUMENTS == 20


def test_windows_show_every_token_once_an_epoch_in_an_order_that_the_seed_decides(tmp_path, tokenizer):
    folder, output = build_tokens(tmp_path, tokenizer, shard_tokens=1000)
    tokens = open_tokens(paths_of(folder, output))
    windows = Windows(tokens, 64, 1)
    stream = tokens.read(0, tokens.num_tokens)
    first = windows.rows(0, windows.per_epoch)
    places = [next(at for at in range(len(stream)) if np.array_equal(stream[at : at + 65], row)) for row in first]
    assert sorted(places) == list(range(min(places), min(places) + 64 * windows.per_epoch, 64))
    assert places != sorted(places)
    assert tokens.num_tokens - 64 * windows.per_epoch < 2 * 64 + 1
    again, other = Windows(tokens, 64, 1), Windows(tokens, 64, 2)
    assert np.array_equal(again.batch(3, 4), windows.rows(12, 4))
    assert not np.array_equal(other.batch(3, 4), windows.batch(3, 4))
    assert not np.array_equal(windows.rows(windows.per_epoch, 4), windows.rows(0, 4)), "the next epoch is another order"
    with pytest.raises(Refused) as caught:
        Windows(tokens, tokens.num_tokens, 1)
    assert caught.value.code == "too_few_tokens"


def test_the_order_of_windows_is_frozen():
    assert [permute(at, 10, 7) for at in range(10)] == [3, 4, 2, 6, 5, 9, 1, 0, 7, 8]
    for size in (1, 2, 3, 4, 5, 64, 1000):
        assert sorted(permute(at, size, 42) for at in range(size)) == list(range(size))
