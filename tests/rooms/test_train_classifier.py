"""The recipe `text-classifier`: same letters, same model; an honest score; files that others can read."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from train_letters import make_context, make_input, make_rows, to_csv

from baray.core import Refused, digest_file
from baray.serve.linear import load_linear
from baray.train.classifier.evaluate import compare, macro_f1
from baray.train.classifier.fitting import fit, predict
from baray.train.classifier.letters import read_letters, split_letters
from baray.train.classifier.text_classifier import train
from baray.train.config import TextClassifier, read_options

ALONE = {"id": "x", "language": "", "unit": "fire", "text": "smoke"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model trained once: (folder of its files, its Output)."""
    folder = tmp_path_factory.mktemp("train")
    source = make_input(folder, {"letters.csv": to_csv(make_rows())})
    (output,) = train(make_context(folder / "out", source))
    return folder / "out" / "router", output


def test_the_files_are_those_of_the_output(made):
    folder, output = made
    assert {file.path for file in output.files} == {path.name for path in folder.iterdir()}
    assert {file.path for file in output.files} == {
        "README.md", "bom.json", "evaluation.json", "model.json", "model.safetensors",
    }  # fmt: skip
    assert all(file.digest == digest_file(folder / file.path) for file in output.files)
    assert output.kind == "model"
    assert output.labels == ("public",)


def test_the_same_letters_in_another_order_give_the_same_model(made, tmp_path):
    _, output = made
    rows = make_rows()
    random.Random(1).shuffle(rows)
    source = make_input(tmp_path, {"part2.csv": to_csv(rows[:50]), "part1.csv": to_csv(rows[50:])})
    (again,) = train(make_context(tmp_path / "out", source))
    assert again.digest == output.digest
    weights = {file.path: file.digest for file in again.files}["model.safetensors"]
    assert weights == {file.path: file.digest for file in output.files}["model.safetensors"]


def test_other_letters_give_another_model(made, tmp_path):
    _, output = made
    (other,) = train(make_context(tmp_path / "out", make_input(tmp_path, {"letters.csv": to_csv(make_rows(seed=8))})))
    assert other.digest != output.digest


def test_the_standard_library_scorer_gives_the_numbers_of_training(tmp_path):
    config = TextClassifier()
    source = make_input(tmp_path, {"letters.csv": to_csv(make_rows())})
    split = split_letters(read_letters(source, config).letters, config)
    expected = predict(fit(split, bits=config.hash_bits, progress=lambda done, total: None), split.test)
    train(make_context(tmp_path / "out", source))
    model = load_linear({path.name: path for path in (tmp_path / "out" / "router").iterdir()})
    scored = np.array([model.probabilities(letter.text) for letter in split.test])
    assert np.abs(scored - expected).max() < 1e-9
    assert model.probabilities("") == pytest.approx(model.probabilities("\u200b"), abs=1e-12)


def test_the_weights_open_with_the_safetensors_package(made):
    folder, _ = made
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    config = json.loads((folder / "model.json").read_text())
    assert set(tensors) == {"buckets", "scale", "weights", "intercept"}
    assert tensors["weights"].shape == (len(tensors["buckets"]), len(config["classes"]))
    assert config["weights"]["digest"] == digest_file(folder / "model.safetensors")


def test_the_score_is_on_held_out_letters_and_comes_with_its_baseline(made):
    folder, output = made
    evaluation = json.loads((folder / "evaluation.json").read_text())
    sizes = evaluation["letters"]
    assert sizes["train"] + sizes["validation"] + sizes["test"] + sum(evaluation["left_out"].values()) == 120
    assert evaluation["interval"][0] <= evaluation["score"] <= evaluation["interval"][1]
    assert output.summary["score"] == evaluation["score"] > 0.8
    rows = evaluation["confusion"]["rows_true_columns_guessed"]
    assert sum(map(sum, rows)) == sizes["test"]
    assert evaluation["verdict"] in (folder / "README.md").read_text()


def test_letters_without_a_pattern_do_not_beat_the_baseline(tmp_path):
    chance = random.Random(3)
    rows = [
        {"id": str(index), "unit": "abc"[index % 3], "text": " ".join(f"{chance.randrange(9**6):x}" for _ in range(6))}
        for index in range(90)
    ]
    (output,) = train(make_context(tmp_path / "out", make_input(tmp_path, {"letters.csv": to_csv(rows)})))
    assert output.summary["beats_baseline"] is False
    assert output.summary["verdict"].startswith("Did not beat the keyword baseline")


def test_every_row_is_a_letter_or_left_out_for_a_reason(tmp_path):
    rows = make_rows(60)
    rows += [
        rows[0] | {"id": "again"},
        rows[1] | {"unit": "water", "id": "other"},
        {**rows[2], "text": "  "},
        {**rows[3], "unit": ""},
    ]
    found = read_letters(make_input(tmp_path, {"letters.csv": to_csv(rows)}), TextClassifier())
    assert found.left_out == {"no text or no class": 2, "same text again": 1, "same text again, other class": 1}
    assert len(found.letters) + sum(found.left_out.values()) == len(rows)


def test_the_parts_share_no_letter_and_hold_every_class(tmp_path):
    config = TextClassifier()
    letters = read_letters(make_input(tmp_path, {"letters.csv": to_csv(make_rows())}), config).letters
    split = split_letters(letters, config)
    parts = [{letter.digest for letter in part} for part in (split.train, split.validation, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(letters)
    assert all(
        {letter.target for letter in part} == {"land", "water", "civil"}
        for part in (split.train, split.validation, split.test)
    )


def test_jsonl_and_parquet_hold_the_same_letters(tmp_path):
    rows = make_rows(60)
    table = pa.table({name: [row[name] for row in rows] for name in ("id", "text", "unit")})
    pq.write_table(table, tmp_path / "rows.parquet")
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    config = TextClassifier()
    kinds = [
        make_input(tmp_path, {"letters.csv": to_csv(rows)}),
        make_input(tmp_path, {"letters.jsonl": lines, "documents.csv": b"path,label\n", "notes.txt": b"x"}),
        make_input(tmp_path, {"data/part-00000.parquet": (tmp_path / "rows.parquet").read_bytes()}, kind="dataset"),
    ]
    digests = [[letter.digest for letter in read_letters(kind, config).letters] for kind in kinds]
    assert digests[0] == digests[1] == digests[2]


@pytest.mark.parametrize(
    ("files", "code", "word"),
    [
        ({"letters.csv": b"id,body,unit\n1,x,y\n"}, "missing_column", "text"),
        ({"letters.txt": b"x"}, "no_letters", "CSV"),
        ({"letters.csv": "id,text,unit\n1,\u00e9,y\n".encode("latin-1")}, "not_utf8", "letters.csv"),
        ({"letters.jsonl": b'{"text": "x"'}, "bad_jsonl", "line 1"),
        ({"letters.jsonl": b'["x"]'}, "bad_jsonl", "line 1"),
        ({"letters.csv": b"text,unit\na,one\nb,one\n"}, "too_few_classes", "unit"),
        ({"letters.csv": to_csv([*make_rows(60), ALONE])}, "too_few_letters", "fire"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_refused_with_its_name(tmp_path, files, code, word):
    with pytest.raises(Refused) as caught:
        read_letters(make_input(tmp_path, files), TextClassifier())
    assert caught.value.code == code
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"nonsense": 1}, {"test_percent": "many"}, {"test_percent": 90}, {"resamples": 10}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(Refused, match=next(iter(options))) as caught:
        read_options(TextClassifier, options)
    assert caught.value.code == "bad_option"


def test_options_may_be_text():
    assert read_options(TextClassifier, {"test_percent": "30", "target": "office"}) == TextClassifier(
        test_percent=30, target="office"
    )


def test_macro_f1_is_that_of_the_definition():
    truth, guess = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    expected = (2 * 1 / (2 + 2) + 2 * 2 / (2 + 3) + 0.0) / 3
    assert macro_f1(truth, guess, np.ones((1, 5)), 3)[0] == pytest.approx(expected)


def test_equal_guesses_never_beat_the_baseline():
    truth = np.array([0, 1] * 30)
    comparison = compare(truth, truth, truth, num_classes=2, resamples=1000, seed=1)
    assert not comparison.beats_baseline
    assert (comparison.difference.low, comparison.difference.high) == (0.0, 0.0)


def test_the_bill_of_materials_names_the_model_its_letters_and_its_score(made):
    folder, output = made
    bill = json.loads((folder / "bom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    model = bill["metadata"]["component"]
    assert model["version"] == output.digest
    assert model["hashes"][0]["content"] == digest_file(folder / "model.safetensors").removeprefix("sha256:")
    (metric,) = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert float(metric["value"]) == output.summary["score"]
    references = {component["bom-ref"] for component in bill["components"]}
    assert set(bill["dependencies"][0]["dependsOn"]) == references


def test_the_door_is_light():
    program = (
        "import sys, baray.train; print(sorted(set(sys.modules) & {'numpy','sklearn','scipy','pyarrow','sqlalchemy'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_a_file_of_the_model_can_be_read_without_baray(made):
    folder, _ = made
    evaluation = Path(folder / "evaluation.json").read_text(encoding="utf-8")
    assert json.loads(evaluation)["metric"].startswith("macro-F1")
