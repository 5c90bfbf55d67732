"""Recipes `table` and `images`: rows become typed columns, pictures become rows."""
