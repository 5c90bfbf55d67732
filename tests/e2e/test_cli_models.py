"""Models that come and go: imported, checked, taught, exported, and opened by others with the same tokens."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
import transformers
from homes import Home

from baray.core import digest_file
from baray.serve.engines.llamacpp import open_server
from engine_models import PROMPTS, greedy, make_model

TOKENS = 24


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("models") / "home")
    yield home
    home.stop()


@pytest.fixture(scope="module", params=["qwen3", pytest.param("llama", marks=pytest.mark.slow)])
def imported(request, home):
    """A Model that transformers saved, and its version here: (folder, network, kind)."""
    folder = home.path.parent / request.param
    network = make_model(folder, request.param)
    made = home.json("model", "import", str(folder), "--name", request.param, "--licence", "Apache-2.0")
    assert made["outputs"][0]["ref"] == f"model:{request.param}@v1"
    return folder, network, request.param


def of_llamacpp(path, prompts, number):
    """What llama.cpp generates from a GGUF file: text, for it tells no ids of characters that are not whole yet."""
    facts = {"path": str(path), "slots": 1, "context": 192, "threads": 1, "plain": True, "exact": True}
    server = open_server(facts)
    texts = []
    for prompt in prompts:
        asked = {
            "prompt": prompt,
            "n_predict": number,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "stream": False,
        }
        texts.append(server.handle_completions(asked | {"cache_prompt": False})["choices"][0]["text"])
    return texts


def test_an_imported_model_is_signed_labelled_and_known_by_its_files(home, imported):
    folder, _, kind = imported
    shown = home.json("model", "show", kind)
    assert shown["label"] == "internal"  # nobody said otherwise
    assert shown["summary"]["recipe"] == "import"
    assert shown["summary"]["layout"] == kind
    digests = {file["path"]: file["digest"] for file in shown["files"]}
    assert digests["model.safetensors"] == digest_file(folder / "model.safetensors")
    assert {"model.sig", "bom.json", "README.md", "tokenizer.json"} <= digests.keys()
    checked = home.json("model", "verify", f"model:{kind}")  # a bare name is the folder, which is there too
    assert (checked["ok"], checked["licences"]) == (True, ["Apache-2.0"])
    assert [node["kind"] for node in home.json("lineage", f"model:{kind}")["nodes"]] == ["model", "run", "source"]
    kinds = [entry["kind"] for entry in home.json("ledger", "show", "--limit", "400")["items"]]
    assert {"source.added", "run.submitted", "version.published"} <= set(kinds)


def test_the_same_folder_again_changes_nothing(home, imported):
    folder, _, kind = imported
    again = home.json("model", "import", str(folder), "--name", kind, "--licence", "Apache-2.0")
    assert again["reused"] is True
    assert home.json("model", "show", kind)["versions"] == [f"model:{kind}@v1"]


def test_exports_give_equal_greedy_tokens_by_transformers_and_llamacpp(home, imported):
    _, network, kind = imported
    out = home.path.parent / f"{kind}-hf"
    said, _ = home.run("model", "export", kind, str(out))
    assert "digests and signature checked" in said
    assert home.json("model", "verify", str(out))["ok"] is True
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    prompts = [tokenizer(text).input_ids for text in PROMPTS]
    right = [greedy(network, prompt, TOKENS) for prompt in prompts]
    assert [greedy(theirs, prompt, TOKENS) for prompt in prompts] == right
    gguf = home.path.parent / f"{kind}-gguf"
    document = home.json("model", "export", kind, str(gguf), "--format", "gguf")
    assert [str(path) for path in gguf.iterdir()] == [document["file"]]
    texts = [tokenizer.decode(one, skip_special_tokens=True) for one in right]
    assert of_llamacpp(document["file"], prompts, TOKENS) == texts
    entries = home.json("ledger", "show", "--limit", "400")["items"]
    files = len(home.json("model", "show", kind)["files"])
    assert len([entry for entry in entries if entry["kind"] == "export.done"]) >= 2 * files


def test_a_pickle_is_refused_before_anything_is_sent_and_again_by_the_run(home, tmp_path):
    folder = tmp_path / "evil"
    make_model(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    error = home.json("model", "import", str(folder), "--name", "evil", code=1)["error"]
    assert error["code"] == "unsafe_model"
    assert "safetensors" in error["fix"]
    assert not any("evil" in source["ref"] for source in home.json("source", "list")["items"])
    home.run("source", "add", "evil", str(folder))  # who does not ask first
    error = home.json("train", "import", "--dataset", "source:evil", "--name", "evil", "--follow", code=1)["error"]
    assert error["code"] == "unsafe_model"
    assert not any("evil" in model["ref"] for model in home.json("model", "list")["items"])


def test_a_model_that_nothing_here_serves_is_kept_and_said_so(home, tmp_path):
    folder = tmp_path / "other"
    make_model(folder)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "mamba"}
    (folder / "config.json").write_text(json.dumps(config))
    _, said = home.run("model", "import", str(folder), "--name", "other", "--label", "public")
    assert "No engine here can serve or train this Model: its model_type is 'mamba'" in said
    shown = home.json("model", "show", "other")
    assert shown["label"] == "public"
    assert shown["summary"]["served"].startswith("no: ")
    out = tmp_path / "gguf"
    error = home.json("model", "export", "other", str(out), "--format", "gguf", code=1)["error"]
    assert error["code"] == "unknown_layout"
    assert list(out.iterdir()) == []


def test_a_damaged_file_is_not_exported(home, tmp_path):
    folder = tmp_path / "spoilt"
    make_model(folder, seed=7)
    home.run("model", "import", str(folder), "--name", "spoilt")
    digest = next(
        file["digest"] for file in home.json("model", "show", "spoilt")["files"] if file["path"] == "model.safetensors"
    )
    (blob,) = home.path.glob(f"blobs/**/*{digest.removeprefix('sha256:')[2:]}*")
    whole = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    error = home.json("model", "export", "spoilt", str(tmp_path / "out"), code=1)["error"]
    assert error["code"] == "not_verified"
    assert not (tmp_path / "out").exists()
    blob.write_bytes(whole)
    home.run("model", "export", "spoilt", str(tmp_path / "out"))
    shutil.rmtree(tmp_path / "out")


@pytest.mark.slow  # the page docs/language-models.md goes the same way
def test_an_imported_model_is_taught_with_the_label_of_both(home, imported, tmp_path):
    _, _, kind = imported
    rows = [{"prompt": f"{number} fee?", "answer": "4000 riel"} for number in range(40)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    home.run("source", "add", f"chats-{kind}", str(tmp_path), "--label", "restricted")
    command = ("train", "finetune", "--dataset", f"source:chats-{kind}", "--name", f"helper-{kind}", "--follow")
    error = home.json(*command, code=1)["error"]
    assert error["code"] == "bad_option"
    assert "--set base=model:NAME" in error["fix"]
    settings = ("--set", "steps=6", "--set", "precision=fp32", "--cpus", "1")
    made = home.json(*command, "--base", kind, *settings)
    assert made["outputs"][0]["ref"] == f"model:helper-{kind}@v1"
    shown = home.json("model", "show", f"helper-{kind}")
    assert shown["label"] == "restricted"
    assert shown["summary"]["base"] == f"model:{kind}@v1"
    assert {"adapter/adapter_model.safetensors", "model.safetensors"} <= {file["path"] for file in shown["files"]}
    out = tmp_path / "out"
    home.run("model", "export", f"helper-{kind}", str(out))
    assert home.json("model", "verify", str(out))["ok"] is True
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    prompts = [tokenizer(text).input_ids for text in PROMPTS]
    right = [greedy(theirs, prompt, TOKENS) for prompt in prompts]
    gguf = home.json("model", "export", f"helper-{kind}", str(tmp_path / "gguf"), "--format", "gguf")["file"]
    assert of_llamacpp(gguf, prompts, TOKENS) == [tokenizer.decode(one, skip_special_tokens=True) for one in right]


def test_a_training_on_several_machines_is_refused_while_nothing_places_one(home):
    asked = ("train", "lm", "--dataset", "nothing", "--name", "wide", "--nodes", "2")
    error = home.json(*asked, code=1)["error"]
    assert error["code"] == "one_machine"
    assert "processes=2" in error["fix"]
