"""The recipe `tokens`: a text Dataset cut by a tokenizer, in memory-mapped shards (format `baray-tokens/1`)."""
