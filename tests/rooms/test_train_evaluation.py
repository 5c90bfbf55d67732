"""Evaluations: baselines by hand, overlap with what was learnt from, paired comparison, and the three kinds of Model."""

from __future__ import annotations

import json
import lzma
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_datasets import context_for, made_input, output_input, sentences, text_input
from train_letters import make_context, make_input, make_rows, to_csv

from baray.core import Refused
from baray.data.tokens.handler import build
from baray.train.classifier.text_classifier import train as train_classifier
from baray.train.evaluation.baselines import ByteModel, lzma_bits
from baray.train.evaluation.documents import files_of
from baray.train.evaluation.handler import evaluate
from baray.train.evaluation.language import document_bits, open_model
from baray.train.evaluation.overlap import RUN_TOKENS, Runs
from baray.train.evaluation.paired import Resamples, verdict
from baray.train.lm.export import exported, write_model
from baray.train.lm.handler import train as train_lm
from baray.train.lm.model import Network
from baray.train.tokenizer.handler import train as train_tokenizer
from engine_models import STRETCHES, make_model


def witten_bell(train: list[bytes], document: bytes) -> float:
    """Bits by the formula, one byte at a time, with dictionaries."""
    grams: Counter[tuple] = Counter()
    for text in train:
        signs = [None, None, *text]
        for at in range(2, len(signs)):
            for order in range(3):
                grams[tuple(signs[at - order : at + 1])] += 1

    def chance(context: tuple, byte: int) -> float:
        after = {gram[-1]: n for gram, n in grams.items() if len(gram) == len(context) + 1 and gram[:-1] == context}
        lower = 1 / 256 if context == () else chance(context[1:], byte)
        if not after:
            return lower
        return (after.get(byte, 0) + len(after) * lower) / (sum(after.values()) + len(after))

    signs = [None, None, *document]
    return -sum(math.log2(chance((signs[at - 2], signs[at - 1]), signs[at])) for at in range(2, len(signs)))


def test_the_trigram_by_hand():
    # Learnt from "ab": p(a) = (1 + 2/256) / (2 + 2). After the start sign stands one "a", of one kind: p = (1 + p(a)) / (1 + 1).
    model = ByteModel().learn([b"ab"])
    one = (1 + 2 / 256) / 4
    two = (1 + one) / 2
    three = (1 + two) / 2
    assert model.bits([b"a"], order=1)[0] == pytest.approx(-math.log2(one))
    assert model.bits([b"a"], order=2)[0] == pytest.approx(-math.log2(two))
    assert model.bits([b"a"], order=3)[0] == pytest.approx(-math.log2(three))
    assert -math.log2(three) == pytest.approx(0.298694, abs=1e-6)
    assert ByteModel().bits([b"any"], order=3)[0] == pytest.approx(24.0), "nothing learnt: 8 bits a byte"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=12).map(lambda b: bytes(x % 5 for x in b)), min_size=1, max_size=4),
    st.binary(max_size=9),
)
def test_the_trigram_is_the_formula(train, document):
    document = bytes(byte % 7 for byte in document)
    model = ByteModel().learn(train)
    assert model.bits([document], order=3)[0] == pytest.approx(witten_bell(train, document), rel=1e-9)


def test_longer_contexts_and_more_text_help():
    texts = [row["text"].encode() for row in sentences(60)]
    model = ByteModel().learn(texts[:50])
    bits = [model.bits(texts[50:], order=order).sum() for order in (1, 2, 3)]
    assert bits[0] > bits[1] > bits[2]
    assert lzma_bits(texts[50:]) == 8 * len(lzma.compress(b"".join(texts[50:]), preset=9 | lzma.PRESET_EXTREME))


def test_documents_that_were_learnt_from_are_found():
    chance = np.random.default_rng(1)
    training = chance.integers(1, 1000, 5000)
    training[1000] = 0  # a boundary
    copied, quoted = (
        training[200:260],
        np.concatenate([chance.integers(1, 1000, 87), training[3000 : 3000 + RUN_TOKENS]]),
    )
    fresh, short, across = chance.integers(1, 1000, 100), training[5:10], training[995:1008]
    runs = Runs([copied, quoted, fresh, short, across])
    runs.meet([training[:2500], training[2500 - RUN_TOKENS + 1 :]], 0)
    share = runs.share()
    assert share[0] == 1.0
    assert share[1] == pytest.approx(1 / 88)
    assert share[2:].tolist() == [0, 0, 0]
    halves = Runs([training[2490:2510]])
    halves.meet([training[:2500], training[2500 - RUN_TOKENS + 1 :]], 0)
    assert halves.share()[0] == 1.0, "a run across two pieces is seen too"


def test_two_versions_are_compared_on_the_same_documents():
    chance = np.random.default_rng(2)
    weights = chance.integers(100, 2000, 80).astype(float)
    bits = weights * 2 + chance.normal(0, 200, 80)
    resamples = Resamples(weights, resamples=1000, seed=1)
    score, difference = resamples.ratio(bits), resamples.ratio(bits * 0.98 - bits)
    assert score.low < score.value < score.high
    assert score.value == pytest.approx(bits.sum() / weights.sum())
    assert difference.high < 0, "2 % less on every Document is certain, though the scores' intervals overlap"
    assert resamples.ratio(bits * 0.98).high > score.low
    told = verdict(difference, model="a@v2", other="a@v1", unit="bits for each byte", less_is_better=True)
    assert told.startswith("a@v2 is better than a@v1")
    assert resamples.ratio(bits) == Resamples(weights, resamples=1000, seed=1).ratio(bits)
    nothing = resamples.ratio(chance.normal(0, 100, 80))
    assert "cannot be told apart" in verdict(nothing, model="a", other="b", unit="bits", less_is_better=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tokenizer, tokens, and two language models, the first untrained."""
    folder = tmp_path_factory.mktemp("lm")
    text = text_input(folder / "in", sentences(60))
    (cutter,) = train_tokenizer(context_for(folder / "t", "tokenizer", [text], {"vocab": 600}))
    tokenizer = output_input(folder / "t/out/made", cutter, ref="model:cutter@v1", name="tokenizer")
    (shards,) = build(context_for(folder / "k", "tokens", [text, tokenizer], {"held_out": "15%"}))
    tokens = output_input(folder / "k/out/made", shards, ref="dataset:tokens@v1", name="dataset")
    options = {"params": "60k", "steps": 20, "context": 32, "batch_tokens": 256, "precision": "fp32", "compile": "no"}
    (trained,) = train_lm(context_for(folder / "m", "lm", [tokens], options | {"learning_rate": 0.02}))
    second = output_input(folder / "m/out/made", trained, ref="model:small@v2", name="model")
    untrained = Network(open_model(files_of(second), second.ref).network.shape, seed=1)
    write_model(
        folder / "untrained",
        exported(untrained, torch.float32),
        network=untrained,
        tokenizer=files_of(tokenizer)["tokenizer.json"],
        eos=0,
    )
    paths = {path.name: path for path in (folder / "untrained").iterdir()}
    first = made_input("model", "model:small@v1", paths, name="model", digest="sha256:" + "1" * 64)
    models = [first, second]
    return SimpleNamespace(text=text, tokenizer=tokenizer, tokens=tokens, models=models)


def evaluation(folder, inputs, options=None):
    context = context_for(folder, "evaluate", [replace(one, name=name) for name, one in inputs.items()], options)
    (output,) = evaluate(context)
    return json.loads((folder / "out/made/evaluation.json").read_text()), output


def test_a_language_model_beside_baselines_and_another_version(made, tmp_path):
    inputs = {"model": made.models[1], "against": made.models[0], "dataset": made.tokens, "training": made.tokens}
    found, output = evaluation(tmp_path, inputs)
    held = pq.read_table(next(f.blob for f in made.tokens.files if f.path == "data/held_out.parquet")).to_pylist()
    size = sum(len(row["text"].encode()) for row in held)
    assert found["documents"] == len(held)
    assert [score["metric"] for score in found["scores"]] == ["bits_per_byte", "perplexity"]
    assert found["baselines"]["model"] == found["scores"][0]["value"]
    assert found["baselines"]["trigram"] < found["baselines"]["unigram"] < 8
    joined = b"".join(row["text"].encode() for row in sorted(held, key=lambda row: row["id"]))
    assert found["baselines"]["lzma"] == pytest.approx(lzma_bits([joined]) / size, abs=1e-5)
    assert found["comparison"]["difference"]["high"] < 0
    assert found["comparison"]["verdict"].startswith("model:small@v2 is better than model:small@v1")
    assert found["seen_before"]["documents"] == len(held)
    assert found["seen_before"]["half"] <= found["seen_before"]["some"] < len(held)
    rows = [json.loads(line) for line in (tmp_path / "out/made/documents.jsonl").read_text().splitlines()]
    assert sum(row["sum"] for row in rows) / size == pytest.approx(found["scores"][0]["value"], abs=1e-4)
    assert output.kind == "evaluation"
    again, second = evaluation(tmp_path / "again", inputs)
    assert (again, second.digest) == (found, output.digest)


def test_bits_of_a_document_do_not_depend_on_its_neighbours_or_on_the_batch(made):
    model = open_model(files_of(made.models[1]), "model:small@v2")
    texts = [row["text"] for row in sentences(6)]
    ids = model.ids(texts)
    together = document_bits(model, ids, lambda _done, _total: None)
    alone = [document_bits(model, [one], lambda _done, _total: None)[0] for one in ids]
    assert together == pytest.approx(alone, rel=1e-5)
    # A Document of one window: the sum of -log2 p over its tokens, computed in one go.
    short = ids[0][:20]
    stream = torch.from_numpy(np.concatenate([[model.eos], short]))[None]
    with torch.no_grad():
        scores = model.network.scores(
            model.network.hidden(stream[:, :-1], torch.zeros_like(stream[:, :-1], dtype=torch.int32))
        )
    expected = -scores.log_softmax(-1)[0, torch.arange(20), stream[0, 1:]].double().sum().item() / math.log(2)
    assert document_bits(model, [short], lambda _done, _total: None)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("way", sorted(STRETCHES))
def test_a_model_from_elsewhere_has_the_bits_that_transformers_gives(made, tmp_path, way):
    theirs = make_model(tmp_path / "model", "llama", stretch=STRETCHES[way])
    paths = {path.name: path for path in (tmp_path / "model").iterdir()}
    model = made_input("model", "model:brought@v1", paths, name="model", digest="sha256:" + "2" * 64)
    found, _ = evaluation(tmp_path / "run", {"model": model, "dataset": made.tokens})
    assert found["scores"][0]["value"] > 1
    opened = open_model(paths, "model:brought@v1")
    held = pq.read_table(next(f.blob for f in made.tokens.files if f.path == "data/held_out.parquet")).to_pylist()
    documents = [ids[:200] for ids in opened.ids([row["text"] for row in held])]  # one window each
    right = []
    for ids in documents:
        row = torch.tensor([[opened.eos, *ids.tolist()]])
        with torch.no_grad():
            scores = theirs(row).logits[0, :-1].float()
        right.append(float(torch.nn.functional.cross_entropy(scores, row[0, 1:], reduction="sum")) / math.log(2))
    np.testing.assert_allclose(document_bits(opened, documents, lambda *_: None), right, rtol=1e-5)


def test_a_model_that_saw_the_documents_is_told(made, tmp_path):
    found, _ = evaluation(
        tmp_path, {"model": made.models[0], "dataset": made.text, "training": made.tokens}, {"metric": "bits_per_byte"}
    )
    assert found["documents"] == 60
    assert found["seen_before"]["half"] >= 50
    assert [score["metric"] for score in found["scores"]] == ["bits_per_byte"]
    nobody, _ = evaluation(tmp_path / "b", {"model": made.models[0], "dataset": made.tokens})
    assert nobody["seen_before"] is None
    assert nobody["baselines"] is None


def test_a_tokenizer_is_measured_on_what_it_held_out(made, tmp_path):
    model = replace(made.tokenizer, name="model")
    found, _ = evaluation(tmp_path, {"model": model, "dataset": made.text, "training": made.text, "against": model})
    told = json.loads(files_of(model)["evaluation.json"].read_text())
    assert found["documents"] == told["fertility"]["all"]["documents"]
    assert found["scores"][0]["value"] == pytest.approx(told["fertility"]["all"]["tokens_per_character"], abs=1e-4)
    assert "cannot be told apart" in found["comparison"]["verdict"]
    every, _ = evaluation(tmp_path / "b", {"model": model, "dataset": made.text})
    assert every["documents"] == 60


def test_what_cannot_be_measured_is_refused(made, tmp_path):
    for number, (inputs, options, code) in enumerate(
        [
            ({"model": made.models[0], "dataset": made.tokens, "against": made.tokenizer}, {}, "not_comparable"),
            ({"model": made.models[0], "dataset": made.tokens}, {"metric": "macro_f1"}, "bad_option"),
            ({"model": replace(made.models[0], files=()), "dataset": made.tokens}, {}, "not_measurable"),
            ({"model": made.models[0], "source": made.tokens}, {}, "not_text"),
        ]
    ):
        with pytest.raises(Refused) as caught:
            evaluation(tmp_path / str(number), inputs, options)
        assert caught.value.code == code


def test_a_classifier_on_other_letters(tmp_path):
    first = make_input(tmp_path, {"letters.csv": to_csv(make_rows(120))})
    versions = []
    for number, rows in enumerate((make_rows(120), make_rows(40, seed=1)), 1):
        source = make_input(tmp_path, {"letters.csv": to_csv(rows)})
        (output,) = train_classifier(make_context(tmp_path / str(number), source, {}))
        versions.append(
            output_input(tmp_path / str(number) / "router", output, ref=f"model:router@v{number}", name="model")
        )
    other = make_input(tmp_path, {"letters.csv": to_csv(make_rows(60, seed=99))})
    inputs = {"model": versions[0], "against": versions[1], "source": other, "training": first}
    found, output = evaluation(tmp_path / "e", inputs, {"metric": "macro_f1,accuracy"})
    assert [score["metric"] for score in found["scores"]] == ["macro_f1", "accuracy"]
    rows = [json.loads(line) for line in (tmp_path / "e/out/made/documents.jsonl").read_text().splitlines()]
    accuracy = sum(row["correct"] for row in rows) / len(rows)
    assert found["scores"][1]["value"] == pytest.approx(accuracy, abs=1e-4)
    assert accuracy > 0.8
    assert found["comparison"]["score"]["value"] > 0.5
    same, _ = evaluation(tmp_path / "same", {"model": versions[0], "source": first, "training": first})
    assert same["seen_before"]["some"] == same["documents"]
    assert output.summary["kind"] == "text-classifier"
