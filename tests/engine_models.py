"""Small Models with random weights in the layouts that engines serve, made by the libraries that others would load them with."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{number}|>" for number in range(5))]
TEXTS = (
    "ការិយាល័យច្រកចេញចូលតែមួយ ផ្តល់សេវារដ្ឋបាលជូនប្រជាពលរដ្ឋ។ សូមយកអត្តសញ្ញាណប័ណ្ណមកជាមួយ។",
    "ថ្លៃសេវាសំបុត្រកំណើត គឺ ៤០០០ រៀល ក្នុងមួយច្បាប់។ ម៉ោងធ្វើការ៖ ៧:៣០ ដល់ ១១:៣០ និង ១៤:០០ ដល់ ១៧:០០",
    "The one-window office issues birth certificates, business licences and family books; it's open on weekdays.",
    "Fees are shown at the counter. Ask for a receipt, and don't pay more than the 4,000 riel that's written there!\n\n",
)
PROMPTS = (
    "ការិយាល័យច្រកចេញចូល",
    "ថ្លៃសេវាសំបុត្រកំណើត គឺ",
    "សូមយកអត្តសញ្ញាណប័ណ្ណ និង the receipt",
    "The one-window office",
    "Fees are shown, and don't pay",
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCAB = 640


def make_tokenizer(folder: Path) -> Tokenizer:
    """A byte-level BPE tokenizer with the cut of our own Models."""
    tokenizer = Tokenizer(models.BPE())
    steps = [
        pre_tokenizers.Split(Regex(CUT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 40, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[0], "pad_token": SPECIAL[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return tokenizer


STRETCHES = {
    "llama3": {
        "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "linear": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
}  # fmt: skip
"""Ways in which Models of others reach further than they were first trained."""


def make_model(
    folder: Path, kind: str = "qwen3", seed: int = 0, stretch: dict[str, object] | None = None
) -> PreTrainedModel:
    """A Model whose random weights are large enough that its answers vary; saved in `folder`, and given for comparison."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(folder)
    sizes = {"vocab_size": VOCAB, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "intermediate_size": 160, "max_position_embeddings": 256, "head_dim": 16}
    more = {"eos_token_id": [0, 2], "pad_token_id": 0, "bos_token_id": None, "tie_word_embeddings": kind == "qwen3"}
    if stretch:
        more["rope_parameters"] = dict(stretch)
    torch.manual_seed(seed)
    if kind == "qwen3":
        model: PreTrainedModel = Qwen3ForCausalLM(Qwen3Config(**sizes, **more))
    else:
        model = LlamaForCausalLM(LlamaConfig(**sizes, **more))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.1 if "embed" in name else 1.2 / weight.shape[-1] ** 0.5
            weight.copy_(torch.randn_like(weight) * spread if weight.ndim == 2 else 1 + 0.2 * torch.randn_like(weight))
        # Tokens that are no whole characters are never chosen: what comes of them is told in other words by each library.
        parts = [number for number in range(VOCAB) if "\N{REPLACEMENT CHARACTER}" in tokenizer.decode([number])]
        model.get_output_embeddings().weight[parts] = 0.0
    model.generation_config.eos_token_id = [0, 2]
    model.save_pretrained(folder)
    return model.eval()


def greedy(model: PreTrainedModel, prompt: list[int], number: int) -> list[int]:
    """What `transformers` generates."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        told = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=number, do_sample=False)
    return told[0, len(prompt) :].tolist()
