"""The recipe `tokenizer`: a text Dataset in, a tokenizer out. Loaded only in an attempt's own process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from baray.catalog import FileEntry, Output
from baray.core import Refused, digest_bytes, digest_file
from baray.runs import AttemptContext, Input
from baray.text import HeldOut
from baray.train.bill import Bill, Material, of_materials, write_bill
from baray.train.config import Tokenizer as Config
from baray.train.config import read_options
from baray.train.tokenizer.card import render_card
from baray.train.tokenizer.corpus import Corpus, Document
from baray.train.tokenizer.learning import SPECIAL_TOKENS, byte_pairs, content, learn
from baray.train.tokenizer.measure import fertility, lossless

_PEER_BYTES = 20_000_000
"""GPT-2's pattern learns from at most this much: it is there for one line of comparison."""
_CHECKED_DOCUMENTS = 1000
_ROOM = 0.7
"""Of the Run's memory, for the words that it learns from."""
_MEMORY_OF_NEW_BYTE = 100
"""Bytes of memory for a byte of a word not seen before: 20 MB of Khmer, which is nearly all new, took 0.8 GB."""
_END = SPECIAL_TOKENS[0]


def train(context: AttemptContext) -> list[Output]:
    """Learn on all but the held-out Documents, measure on those, and write the version's files below `context.out`."""
    config = read_options(Config, context.spec["options"])
    source = _only_dataset(context)
    corpus = Corpus(source)
    held = corpus.held_out(config.held_out)
    total = corpus.num_bytes()
    share = _share(context, corpus, total, config.max_megabytes * 1e6)
    told_share = (
        "" if share == 1.0 else f"; learns from {share:.1%} of them, spread evenly: --memory gives it room for more"
    )
    context.log(f"{corpus.num_documents} Documents, {total / 1e6:.1f} MB{told_share}")
    tokenizer = learn(config.kind, _texts(context, corpus, held, share), config.vocab)
    peer = byte_pairs(_texts(context, corpus, held, min(share, _PEER_BYTES / max(1, total))), config.vocab, None)
    evaluation = _evaluate(tokenizer, peer, corpus, held)
    evaluation |= {"kind": config.kind, "vocab": tokenizer.get_vocab_size(), "held_out_percent": config.held_out}
    context.log(told(evaluation))
    for language, numbers in evaluation["fertility"].items():
        context.metric(f"tokens_per_character.{language}", numbers["tokens_per_character"], step=0)
    return [_write(context, tokenizer, evaluation, source)]


def told(evaluation: dict[str, Any]) -> str:
    """The result in one line."""
    rates = [
        f"{language} {numbers['tokens_per_character']:.3f} tokens a character, {numbers['bytes_per_token']:.1f} bytes a token"
        for language, numbers in evaluation["fertility"].items()
        if language != "all"
    ]
    peer = [
        f"{language} {numbers['tokens_per_character']:.3f}"
        for language, numbers in evaluation["gpt2_pattern"].items()
        if language != "all"
    ]
    return f"{evaluation['vocab']} tokens: {'; '.join(rates)} (with GPT-2's pattern: {', '.join(peer)})"


def _only_dataset(context: AttemptContext) -> Input:
    found = [one for one in context.inputs.values() if one.kind == "dataset"]
    if len(found) != 1 or len(context.inputs) != 1:
        raise Refused(
            "one_input", f"tokenizer takes one Dataset, not {len(context.inputs)} inputs.", fix="Name one text Dataset."
        )
    return found[0]


def _share(context: AttemptContext, corpus: Corpus, total_bytes: int, most_bytes: float) -> float:
    """How much of the text it learns from: what was asked for, and what its table of different words has room for."""
    room = context.memory_bytes * _ROOM / _MEMORY_OF_NEW_BYTE
    return min(1.0, most_bytes / max(1, total_bytes), room / max(1.0, total_bytes * corpus.new_share()))


def _texts(context: AttemptContext, corpus: Corpus, held: HeldOut, share: float) -> Iterator[str]:
    """Texts to learn from: an even part of the Dataset where all of it would be too much."""
    taken = 0.0
    for number, document in enumerate(corpus.documents(), 1):
        if number % 1000 == 0:
            context.progress(number, max(number, corpus.num_documents), "documents")
        if held.holds(document.part.key):
            continue
        taken += share
        if taken >= 1.0 - 1e-9:
            taken -= 1.0
            yield document.part.text


def _held_out(corpus: Corpus, held: HeldOut) -> Iterator[Document]:
    return (document for document in corpus.documents() if held.holds(document.part.key))


def _evaluate(tokenizer: Tokenizer, peer: Tokenizer, corpus: Corpus, held: HeldOut) -> dict[str, Any]:
    checked = (one for one, _ in zip(_held_out(corpus, held), range(_CHECKED_DOCUMENTS), strict=False))
    return {
        "metric": "fertility on held-out Documents: tokens a character, bytes a token",
        "fertility": fertility(tokenizer, _held_out(corpus, held)),
        "gpt2_pattern": fertility(peer, _held_out(corpus, held)),
        "changed_by_a_round_trip": lossless(tokenizer, checked),
    }


def _write(context: AttemptContext, tokenizer: Tokenizer, evaluation: dict[str, Any], source: Input) -> Output:
    name = context.spec["name"]
    folder = context.out / name
    digest = write_files(folder, tokenizer)
    material = Material(
        ref=source.ref, digest=source.digest, label=source.label, title=source.title, licences=source.licences
    )
    _write_json(folder / "evaluation.json", evaluation)
    (folder / "README.md").write_text(render_card(name, material, evaluation), encoding="utf-8")
    bill = Bill(
        name=name,
        digest=digest,
        file_digest=digest_file(folder / "tokenizer.json"),
        description=f"Cuts text into {evaluation['vocab']} kinds of tokens.",
        card={"modelParameters": {"task": "tokenization", "datasets": of_materials([material])}},
        label=source.label,
        materials=[material],
        versions={library: version(library) for library in ("tokenizers", "sentencepiece")},
    )
    write_bill(folder / "bom.json", bill)
    return Output(
        kind="model",
        name=name,
        digest=digest,
        labels=(source.label,),
        files=tuple(
            FileEntry(path=file.name, digest=digest_file(file), bytes=file.stat().st_size)
            for file in sorted(folder.iterdir())
        ),
        summary={
            "recipe": "tokenizer",
            "kind": evaluation["kind"],
            "vocab": evaluation["vocab"],
            "fertility": {
                language: numbers["tokens_per_character"]
                for language, numbers in evaluation["fertility"].items()
                if language != "all"
            },
        },
    )


def write_files(folder: Path, tokenizer: Tokenizer) -> str:
    """What `transformers` and `tokenizers` load; the digest that identifies the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.encode_special_tokens = False
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    special = {"eos_token": _END, "pad_token": _END}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    _write_json(folder / "tokenizer_config.json", special | settings | {"model_max_length": 1_000_000_000})
    _write_json(folder / "special_tokens_map.json", special)
    # Scores are numbers with a fraction, which have no canonical JSON: the text stands for them.
    text = json.dumps(content(tokenizer), sort_keys=True, ensure_ascii=False)
    return digest_bytes(b"baray tokenizer 1\n" + text.encode())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
