"""The `baray` command: one table of commands, each loaded only when it is called.

A command is a Leaf in `baray.client.commands`: a function that gets a Cli and its options. Every command takes
`--json`, `--project`, `--server` and `--home`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import click

from baray import __version__
from baray.client.catalogue import COMMANDS, GROUPS, PEOPLES_WORDS
from baray.client.embedded import Embedded
from baray.client.output import Screen
from baray.client.sdk.client import Client
from baray.client.sdk.transport import Endpoint, Timing
from baray.client.settings import ClientSettings
from baray.core import BarayError, Refused

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(slots=True, kw_only=True)
class Cli:
    """What a command is given: settings, the screen, and a client that connects when first used."""

    settings: ClientSettings
    screen: Screen
    timing: Timing
    project: str = ""
    """Name of the project; empty for the default."""
    while_waiting: str = ""
    """What Ctrl-C should say about work that goes on."""
    patience_seconds: float = 15.0
    """How long a lost server is waited for."""
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The client of the server that settings and options name; the embedded one is started if need be."""
        if self._client is None:
            self._client = Client(
                self.find,
                project=self.project,
                timing=self.timing,
                patience_seconds=self.patience_seconds,
                language=self.settings.language,
            )
        return self._client

    @property
    def embedded(self) -> Embedded:
        """The server of the home."""
        settings = self.settings
        return Embedded(settings.home, timing=self.timing, environ=settings.environ, say=self.screen.say)

    def find(self) -> Endpoint:
        """Where the server is."""
        if self.settings.server:
            return Endpoint(url=self.settings.server, token=self.settings.token)
        return self.embedded.find()

    def command(self, text: str) -> str:
        """A command to propose, `baray text`, that reaches the same home."""
        return f"{self.settings.program} {text}" + (f" --home {self.settings.home}" if self.settings.home_given else "")

    def close(self) -> None:
        """Close the connection, if one was opened."""
        if self._client is not None:
            self._client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One command: its function, and its options in the order of the help."""

    run: Callable[..., None]
    """Called as run(cli, **options)."""
    params: tuple[click.Parameter, ...] = ()
    """Arguments and options of its own."""
    example: str = ""
    """One line that works."""
    project: bool = True
    """Whether it speaks to a server (then it takes --project and --server)."""
    json_file: bool = False
    """Whether `--json FILE` writes the document there (then the function gets `json_file`)."""


def option(*names: str, **settings: Any) -> click.Option:  # noqa: ANN401 - click's own keyword arguments
    """An option; its help is the key of its translation."""
    return click.Option(list(names), **settings)


def argument(name: str, **settings: Any) -> click.Argument:  # noqa: ANN401 - click's own keyword arguments
    """A positional argument."""
    return click.Argument([name], **settings)


class _Command(click.Command):
    """A Leaf as click sees it."""

    def __init__(self, path: str, leaf: Leaf, help_text: str) -> None:
        common = _common_options(json_file=leaf.json_file)[: 4 if leaf.project else 2]
        super().__init__(
            path.rpartition(" ")[2],
            callback=leaf.run,
            params=[*leaf.params, *common],
            help=help_text,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        self._leaf = leaf

    def invoke(self, ctx: click.Context) -> None:
        cli = _cli(ctx)
        params = dict(ctx.params)
        as_json = params.pop("as_json")
        if self._leaf.json_file:
            params["json_file"] = Path(as_json) if as_json not in (None, "-") else None
            as_json = as_json == "-"
        cli.screen = replace(cli.screen, as_json=as_json)
        home = params.pop("home_option")
        if home:
            cli.settings = replace(cli.settings, home=Path(home).expanduser().absolute(), home_given=True)
        if home and self._leaf.project:  # a home on the command line means its embedded server
            cli.settings = replace(cli.settings, server="")
        if self._leaf.project:
            server = params.pop("server_option")
            cli.settings = replace(cli.settings, server=server.rstrip("/")) if server else cli.settings
            cli.project = params.pop("project_option") or cli.project
        self._leaf.run(cli, **params)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _format_usage(self, ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        tr = _cli(ctx).screen.tr
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = [record for option in options if (record := option.get_help_record(ctx))]
        _section(formatter, tr("Options"), [(name, tr(text)) for name, text in records])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self._leaf.example:
            with formatter.section(_cli(ctx).screen.tr("Example")):
                formatter.write(f"  {self._leaf.example}\n")


class _Group(click.Group):
    """Commands of one noun, or all of them; loaded when looked up."""

    def __init__(self, path: str, help_text: str) -> None:
        settings = {"help_option_names": ["-h", "--help"]}
        params: list[click.Parameter] = [] if path else [_version_option()]
        super().__init__(path.rpartition(" ")[2] or "baray", help=help_text, context_settings=settings, params=params)
        self._path = path

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return _children(self._path)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = f"{self._path} {cmd_name}".strip()
        tr = _cli(ctx).screen.tr
        if path in GROUPS:
            return _Group(path, tr(GROUPS[path]))
        if path not in COMMANDS:
            return None
        module, _, name = COMMANDS[path].target.partition(":")
        leaf: Leaf = getattr(importlib.import_module(f"baray.client.{module}"), name)
        return _Command(path, leaf, tr(COMMANDS[path].help))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(_suggestion(self._path, args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _format_usage(self, ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        tr = _cli(ctx).screen.tr
        rows = []
        for name in self.list_commands(ctx):
            path = f"{self._path} {name}".strip()
            rows.append((name, tr(GROUPS[path] if path in GROUPS else COMMANDS[path].help)))
        _section(formatter, tr("Commands"), rows)
        told = [record for param in self.params if (record := param.get_help_record(ctx))]
        _section(formatter, tr("Options"), [(name, tr(text)) for name, text in told])


def run_command(argv: list[str], settings: ClientSettings, *, out: TextIO, err: TextIO, timing: Timing) -> int:
    """Run one command; returns its exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    colour = settings.colour and out.isatty() and err.isatty()
    as_json = "--json" in argv[: argv.index("--")] if "--" in argv else "--json" in argv
    screen = Screen(out=out, err=err, clock=timing.clock, language=settings.language, colour=colour, as_json=as_json)
    cli = Cli(settings=settings, screen=screen, timing=timing)
    try:
        return _dispatch(argv, cli)
    except click.exceptions.UsageError as error:
        _wrong_usage(cli, error)
        return WRONG_USAGE
    except BarayError as error:
        cli.screen.error(error)
        return FAILED
    except BrokenPipeError:
        return FAILED
    except (KeyboardInterrupt, click.exceptions.Abort):
        cli.screen.say("Interrupted.")
        if cli.while_waiting:
            cli.screen.say(cli.while_waiting)
        return INTERRUPTED
    finally:
        cli.close()


def _dispatch(argv: list[str], cli: Cli) -> int:
    root = _Group("", cli.screen.tr("Files become Datasets, Models and Indexes; these answer; a ledger proves it."))
    try:
        with root.make_context("baray", argv or ["--help"], obj=cli) as context:
            root.invoke(context)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=cli.screen.err)
        return WRONG_USAGE
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    return DONE


def _wrong_usage(cli: Cli, error: click.exceptions.UsageError) -> None:
    path = error.ctx.command_path if error.ctx else "baray"
    cli.screen.error(Refused("wrong_usage", error.format_message(), fix=f"See `{path} --help`."))


def _common_options(*, json_file: bool) -> list[click.Parameter]:
    optional = {"is_flag": False, "flag_value": "-", "metavar": "[FILE]"} if json_file else {"is_flag": True}
    return [
        option("--json", "as_json", help="Print one JSON document.", **optional),
        option("--home", "home_option", metavar="DIR", help="Home of the embedded server (BARAY_HOME)."),
        option("--project", "project_option", metavar="NAME", help="Project to act in."),
        option("--server", "server_option", metavar="URL", help="Address of a server (BARAY_SERVER)."),
    ]


def _version_option() -> click.Option:
    def show(context: click.Context, _option: click.Parameter, asked: bool) -> None:
        if asked:
            screen = _cli(context).screen
            screen.show({"version": __version__}, lambda: [f"baray {__version__}"])
            context.exit()

    return option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and exit."
    )


def _children(path: str) -> list[str]:
    prefix = f"{path} " if path else ""
    names = dict.fromkeys(full[len(prefix) :].partition(" ")[0] for full in COMMANDS if full.startswith(prefix))
    return list(names)


def _suggestion(path: str, word: str) -> str:
    known = _children(path)
    meant = PEOPLES_WORDS.get(f"{path} {word.lower()}".strip())
    if meant:
        return f"There is no command '{word}': here it is called `baray {meant}`."
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    names = " or ".join(f"`baray {f'{path} {name}'.strip()}`" for name in close)
    return f"There is no command '{word}'." + (f" Did you mean {names}?" if close else "")


def _cli(context: click.Context) -> Cli:
    found = context.find_object(Cli)
    if found is None:
        raise RuntimeError("a command was built without a Cli")
    return found


def _format_usage(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    pieces = " ".join(command.collect_usage_pieces(context))
    formatter.write_usage(context.command_path, pieces, prefix=_cli(context).screen.tr("Usage") + ": ")


def _section(formatter: click.HelpFormatter, name: str, rows: Iterable[tuple[str, str]]) -> None:
    found = list(rows)
    if found:
        with formatter.section(name):
            formatter.write_dl(found)
