"""`baray train`."""

from __future__ import annotations

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.dataset import settings_of
from baray.client.commands.watching import finish
from baray.core import check_name, parse_ref


def _train(
    cli: Cli,
    recipe: str,
    *,
    dataset: str,
    name: str,
    settings: tuple[str, ...],
    follow: bool,
    base: str,
    **room: object,
) -> None:
    ref = parse_ref(dataset if ":" in dataset else f"dataset:{dataset}")
    key = "source" if ref.kind == "source" else "dataset"
    inputs = {key: str(parse_ref(str(ref), kind=key))}
    options = settings_of(settings)
    if base:
        options["base"] = str(parse_ref(base, kind="model"))
    run = cli.client.train(recipe, name=check_name(name), inputs=inputs, options=options, **room)
    finish(cli, run, label=f"model:{name}", wait=follow, follow=follow)


TRAIN = Leaf(
    run=_train,
    params=(
        argument("recipe"),
        option(
            "--dataset", required=True, metavar="REF", help="What to learn from: a Dataset, or source:NAME for a CSV."
        ),
        option("--name", required=True, help="Name of the Model."),
        option("--base", default="", metavar="REF", help="Model to start from, for recipes that take one."),
        option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the recipe; `baray recipes`."
        ),
        option("--cpus", type=int, help="Cores; `lm` takes all that are free unless told otherwise."),
        option("--nodes", type=int, help="Machines that share it; one, until something places Runs on several."),
        option("--memory", metavar="SIZE", help="Memory, for example 8GB; 2GB unless told otherwise."),
        option(
            "--time", metavar="DURATION", help="Longest time of an Attempt, for example 3d; 24h unless told otherwise."
        ),
        option("--follow", is_flag=True, help="Show the log and wait."),
    ),
    example="baray train text-classifier --dataset source:letters --name router --follow",
)
