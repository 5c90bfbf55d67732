"""One compiled pass over texts: words are found once, and all filters, hashes and signatures live on them.

Owns what a character, a word, a line and a run of words is for the filters, and what each filter decides. Does not own
which Documents are duplicates (`duplicates`), languages and personal data (`text`).
The door is light: the compiled functions are loaded when a filter or a signature is first wanted.
"""
