"""Dataset -> Model: the built-in training recipes.

Owns: the recipes' frozen configs, how letters are read and split, features, fitting, tokenizers, Evaluations of Models, and
the files of a Model version (`model.safetensors`, `model.json`, card, bill of materials, evaluation).
Does not own: when a recipe runs and where its outputs go (runs, catalog), or answering with a Model (serve).

This door is light: handlers stand here as dotted strings and are loaded only in an attempt's own process.
"""

from baray.train.config import RECIPES, Recipe, TextClassifier, Tokenizer, read_options
from baray.train.imported.checks import check_files

__all__ = ["RECIPES", "Recipe", "TextClassifier", "Tokenizer", "check_files", "read_options"]
