"""The built-in recipes: which kind of thing each makes, and the handler that an attempt's process loads."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from baray import data, train


def recipe_table() -> dict[str, dict[str, Any]]:
    """Recipe name -> `{kind, handler, title, options, check, output_label_rule}`."""
    table = {name: _data_recipe(name) for name in data.RECIPES}
    return table | {name: _train_recipe(name) for name in train.RECIPES}


def _data_recipe(name: str) -> dict[str, Any]:
    config = data.RECIPES[name]
    return {
        "kind": "index" if name == "desk" else "dataset",
        "handler": data.HANDLERS[name],
        "title": (config.__doc__ or "").splitlines()[0],
        "options": [asdict(option) for option in data.describe(name)],
        "check": lambda options: asdict(data.read_options(config, options)),
        "takes": data.TAKES[name],
        "mounts": data.MOUNTS.get(name, {}),
        "mounts_if_given": data.MOUNTS_IF_GIVEN.get(name, {}),
        "all_cpus": name in data.ALL_CPUS,
        # Rows of a text Dataset tell its label; tokens hold a tokenizer too, which was learnt from other text.
        "output_label_rule": "join" if data.MOUNTS.get(name) else "rows",
    }


def _train_recipe(name: str) -> dict[str, Any]:
    recipe = train.RECIPES[name]
    options = [
        {"name": one.name, "default": one.default, "unit": one.metadata.get("unit", ""), "help": one.metadata["help"]}
        for one in fields(recipe.options)
    ]
    return {
        "kind": recipe.kind,
        "handler": recipe.handler,
        "title": recipe.title,
        "options": options,
        "check": lambda given: asdict(train.read_options(recipe.options, given)),
        "takes": recipe.takes,
        "mounts": recipe.mounts,
        "mounts_if_given": {},
        "all_cpus": recipe.all_cpus,
        "output_label_rule": "join",
    }
