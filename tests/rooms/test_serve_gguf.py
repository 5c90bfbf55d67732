"""GGUF files of ours: llama.cpp cuts text into the token ids that the Model's tokenizer gives; what it cannot is refused."""

from __future__ import annotations

import http.client
import importlib
import json
import socket
from pathlib import Path

import pytest
import torch
from test_serve_engines import ask, load
from tokenizers import Tokenizer

from baray.core import Refused
from baray.serve.engines.gguf_file import name_of_cut, write_gguf
from baray.serve.engines.port import Generation
from baray.train.tokenizer.learning import learn
from engine_models import PROMPTS, STRETCHES, TEXTS, greedy, make_model


def test_llama_cpp_cuts_text_as_the_tokenizer_does(tmp_path):
    """Its token ids on Khmer and English."""
    folder = tmp_path / "model"
    make_model(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    size = write_gguf(folder, tmp_path / "m.gguf", kind="bf16")
    size = write_gguf(folder, tmp_path / "m.gguf", kind="bf16")
    assert size == (tmp_path / "m.gguf").stat().st_size
    lines = [*PROMPTS, *TEXTS, "a  b\t\nc\n\n ១២៣ 123 e\u0301 ក\u200bខ", "<|im_start|>user\nសួស្តី<|im_end|>\n"]
    assert tokens_of_llamacpp(tmp_path, lines) == [tokenizer.encode(line).ids for line in lines]


def tokens_of_llamacpp(folder: Path, lines: list[str]) -> list[list[int]]:
    """How it cuts lines by `m.gguf`, asked at a server that we open for the purpose."""
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames = str(folder / "m.gguf"), [str(folder / "s.sock")]
    params.n_ctx, params.n_parallel, params.verbosity = 64, 1, -1
    params.warmup = params.fit_params = params.ui = False
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    connection = http.client.HTTPConnection("s")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(folder / "s.sock"))
    told = []
    for line in lines:
        body = json.dumps({"content": line, "add_special": True, "parse_special": True})
        connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        told.append(json.loads(connection.getresponse().read())["tokens"])
    connection.close()
    del server
    (folder / "s.sock").unlink(missing_ok=True)
    return told


def test_a_cut_without_a_name_is_refused():
    step = {"type": "Split", "pattern": {"Regex": r"\w+"}}
    with pytest.raises(Refused, match="no name"):
        name_of_cut({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [step, {"type": "ByteLevel"}]}})
    assert name_of_cut({"pre_tokenizer": {"type": "ByteLevel"}}) == "gpt-2"


@pytest.fixture(scope="module")
def unigram(tmp_path_factory):
    """A Model whose tokenizer is a unigram of ours: (folder, network of transformers, tokenizer)."""
    folder = tmp_path_factory.mktemp("unigram")
    made = make_model(folder)
    tokenizer = learn("unigram", TEXTS * 20, 560)
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.no_grad():
        # Bytes are never chosen: of some that are no character each library makes other marks.
        made.get_output_embeddings().weight[8 : 8 + 256] = 0.0
    made.save_pretrained(folder)
    return folder, made, tokenizer


def test_llama_cpp_cuts_text_as_our_unigram_does(unigram, tmp_path):
    folder, _, tokenizer = unigram
    write_gguf(folder, tmp_path / "m.gguf")
    lines = [
        *PROMPTS,
        *TEXTS,
        "ថ្លៃ  ៤០០០ រៀល\r\n\r\nFees:  4,000\t riel \n",
        " ៤០ ",
        "<|im_start|>user\nfee?<|im_end|>\n",
    ]
    told = tokens_of_llamacpp(tmp_path, lines)
    assert told == [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    # Not covered: what is no ASCII and in no piece. We spell it in bytes; there it is one token, unknown.
    (odd,) = tokens_of_llamacpp(tmp_path, ["fee 漢"])
    ours = tokenizer.encode("fee 漢").ids
    assert (odd[:-1], odd[-1], len(ours) - len(odd)) == (ours[:-3], 7, 2)


def test_a_unigram_model_answers_in_llama_cpp_as_in_transformers(unigram, tmp_path):
    folder, made, tokenizer = unigram
    prompts = [tokenizer.encode(text).ids for text in (*PROMPTS, "fee 漢?")]  # a Replica tells it ids, not text
    right = [greedy(made, prompt, 24) for prompt in prompts]
    engine = load("llamacpp", folder, tmp_path)
    wanted = [Generation(prompt=tuple(prompt), max_tokens=24, ends=frozenset({0, 2})) for prompt in prompts]
    told = [answer.text for answer in ask(engine, *wanted)]
    engine.close()
    assert told == [tokenizer.decode([one for one in ids if one not in (0, 2)]) for ids in right]


def test_another_unigram_is_refused_as_gguf(unigram, tmp_path):
    for file in unigram[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    told = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(told | {"pre_tokenizer": {"type": "Whitespace"}}))
    with pytest.raises(Refused, match="another way than ours"):
        write_gguf(tmp_path, tmp_path / "m.gguf")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": {"a": 0}}}))
    with pytest.raises(Refused, match="of type 'WordPiece'"):
        write_gguf(tmp_path, tmp_path / "m.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_stretch_that_llama_cpp_does_not_know_of_qwen3_is_refused_as_gguf(tmp_path):
    make_model(tmp_path / "model", stretch=STRETCHES["llama3"])
    with pytest.raises(Refused, match="rope_type 'llama3'"):
        write_gguf(tmp_path / "model", tmp_path / "model.gguf")
