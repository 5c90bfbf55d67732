"""Measure a Model version on a Dataset: a language model, a tokenizer or a classifier, alone or beside another version."""
