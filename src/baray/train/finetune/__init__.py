"""The recipe `finetune`: a language model learns to answer as conversations do. Reached by dotted name only."""
