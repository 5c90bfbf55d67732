"""Learn a tokenizer: byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909) or unigram (Kudo 2018, arXiv:1804.10959).

BPE cuts text into words first. GPT-2's pattern counts only letters to a word, and Khmer vowels and signs are marks: each
would be a token of its own whatever the vocabulary. Here letters *and* marks make a word; numbers go digit by digit.

Equal Documents in equal order give an equal tokenizer, byte for byte. `tokenizers` learns unigram in the order of a hash
table that differs from process to process, so `sentencepiece` learns it and `tokenizers` carries it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{number}|>" for number in range(5)))
"""In the order of their ids, from 0: the first ends a Document, the last is for what unigram cannot cut, which is nothing."""
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The words of BPE; tokens never cross them."""
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_NEVER = -1000.0
"""Score of special tokens and bytes: they are used only where no other piece fits."""
_THREADS = 4
"""Fixed: sums in another order give other last digits."""
_MOST_LINE_BYTES = 1 << 16
_SCORE_DIGITS = 6


def learn(kind: str, texts: Iterable[str], vocab: int) -> Tokenizer:
    """A tokenizer of at most `vocab` tokens; fewer where the text has no more to offer."""
    return _unigram(texts, vocab) if kind == "unigram" else byte_pairs(texts, vocab)


def byte_pairs(texts: Iterable[str], vocab: int, pattern: str | None = PATTERN) -> Tokenizer:
    """Byte-level BPE; without a pattern it cuts words as GPT-2 does."""
    tokenizer = Tokenizer(models.BPE())
    if pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(texts: Iterable[str], vocab: int) -> Tokenizer:
    """Spaces become ▁; line ends and digits stand alone; what no piece covers falls into its bytes."""
    pieces = _learn_pieces(texts, vocab - len(SPECIAL_TOKENS) - len(_BYTES))
    # Our own tokens are worse than any other way to cut: text that spells one stays text.
    entries: list[tuple[str, float]] = [(token, _NEVER) for token in (*SPECIAL_TOKENS, *_BYTES)]
    # Where two of our own names came out as pieces they would be twice in the table.
    known = {token for token, _ in entries}
    entries += [(piece, score) for piece, score in pieces if piece not in known]
    tokenizer = Tokenizer(models.Unigram(entries, unk_id=len(SPECIAL_TOKENS) - 1, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n]+|\p{N}"), "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="never", split=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _learn_pieces(texts: Iterable[str], wanted: int) -> list[tuple[str, float]]:
    """Pieces and their log probabilities, best first."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_lines(texts),
        model_writer=model,
        model_type="unigram",
        vocab_size=wanted,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        character_coverage=0.9999,
        required_chars="".join(map(chr, range(33, 127))),
        max_sentence_length=_MOST_LINE_BYTES,
        num_threads=_THREADS,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    learnt = [number for number in range(found.get_piece_size()) if not found.is_unknown(number)]
    pieces = [
        (str(found.id_to_piece(number)), round(float(found.get_score(number)), _SCORE_DIGITS)) for number in learnt
    ]
    return sorted(pieces, key=lambda one: (-one[1], one[0]))


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines short enough to learn from; a zero byte would end one in C."""
    most = _MOST_LINE_BYTES // 4  # characters; each has at most four bytes
    for text in texts:
        for line in text.replace("\0", " ").splitlines():
            for start in range(0, len(line), most):
                yield line[start : start + most]


def content(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `tokenizer.json` holds."""
    found = json.loads(tokenizer.to_str())
    assert isinstance(found, dict)
    return found
