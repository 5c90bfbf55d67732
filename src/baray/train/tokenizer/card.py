"""The card of a tokenizer: how it cuts, how many tokens it needs, what it learnt from."""

from __future__ import annotations

from typing import Any

from baray.train.bill import Material

_KINDS = {"bpe": "byte-level BPE", "unigram": "unigram with byte fallback"}
_PLAIN = {"km": "Khmer", "en": "English", "other": "other languages"}


def render_card(name: str, source: Material, evaluation: dict[str, Any]) -> str:
    """`README.md` with the front matter that model hubs read."""
    languages = [language for language in evaluation["fertility"] if language in ("km", "en")]
    kind = _KINDS[evaluation["kind"]]
    front = ["---", *(["language:", *(f"- {language}" for language in languages)] if languages else [])]
    front += ["library_name: tokenizers", "tags:", "- tokenizer", "---"]
    lines = [*front, "", f"# {name}", "", f"A tokenizer of {evaluation['vocab']} tokens: {kind}.", ""]
    lines += ["| language | tokens a character | bytes a token | characters measured | with GPT-2's pattern |"]
    lines += ["|---|---|---|---|---|"]
    for language, numbers in evaluation["fertility"].items():
        if language != "all":
            peer = evaluation["gpt2_pattern"].get(language, {}).get("tokens_per_character", 0.0)
            lines.append(
                f"| {_PLAIN.get(language, language)} | {numbers['tokens_per_character']:.3f} "
                f"| {numbers['bytes_per_token']:.1f} | {numbers['characters']} | {peer:.3f} |"
            )
    lines += [
        "",
        "Measured on Documents that it did not learn from. Fewer tokens a character are better: a model sees more text at",
        "once and answers sooner. The last column is byte-level BPE of the same size with the words of GPT-2, which end at",
        "every Khmer vowel sign.",
        "",
        f"Held-out Documents that came back changed from their tokens: {evaluation['changed_by_a_round_trip']}.",
        "",
        f"Learnt from {source.title or source.ref} (`{source.ref}`, `{source.digest}`), label `{source.label}`: words of",
        "that text stand in the vocabulary, so the tokenizer carries its label.",
        f"Licences: {', '.join(source.licences) or 'none stated'}.",
        "",
        "```python",
        "from transformers import AutoTokenizer",
        'tokenizer = AutoTokenizer.from_pretrained("DIR")',
        "```",
        "",
    ]
    return "\n".join(lines)
