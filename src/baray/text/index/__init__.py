"""The Index: its files, the terms and passages in them, and how a question is read, ranked and quoted.

`files` writes and opens; `segment` is one label's file; `passages`, `terms` and `stem` say what is in it; `query` reads a
question, `search` ranks documents, `quotes` chooses sentences.
"""
