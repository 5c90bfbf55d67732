"""The recipe `tokenizer`: learn how text is cut into tokens, measure it on held-out Documents, write what others load."""
