"""Opens an adapter with PEFT: `peft_check.py BASE ADAPTER MERGED`; prints how far base and adapter are from what was merged."""

from __future__ import annotations

import json
import sys

import peft
import torch
from transformers import AutoModelForCausalLM

base, adapter, merged = sys.argv[1:]
model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
ids = torch.arange(8, 40)[None]
with torch.no_grad():
    plain = model.get_base_model()
    beside, together = model(ids).logits, whole(ids).logits
    with model.disable_adapter():
        without = plain(ids).logits
told = {"apart": float((beside - together).abs().max()), "changed": float((beside - without).abs().max())}
how = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None}
told["greedy"] = [
    one.generate(ids[:, :5], attention_mask=torch.ones_like(ids[:, :5]), **how).tolist() for one in (model, whole)
]
print(json.dumps(told))
