"""Words that newcomers meet: the version, an early Ctrl-C, what a command's Run came to, quantities of nothing."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from baray import __version__
from baray.client import Timing, read_settings, run_command
from baray.client.cli import Cli
from baray.client.commands.desk import CREATE, desk_named
from baray.client.commands.watching import told
from baray.client.output import Screen
from baray.client.sdk.transport import Missing
from baray.core import NotFound, SystemClock


def run(*argv, **environ):
    out, err = io.StringIO(), io.StringIO()
    settings = read_settings({"BARAY_HOME": "/nonexistent", **environ}, is_root=False)
    code = run_command(list(argv), settings, out=out, err=err, timing=Timing())
    return code, out.getvalue(), err.getvalue()


def test_the_version_is_said(capsys):
    assert run("--version") == (0, f"baray {__version__}\n", "")
    run()
    assert "--version" in capsys.readouterr().out


INTERRUPTED_IMPORT = """
import sys
class Early:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Early())
from baray.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["baray.client", "baray.client.cli", "http.client", "baray.client.commands.run"])
def test_ctrl_c_while_the_command_is_being_loaded_is_130_without_a_traceback(name):
    code = INTERRUPTED_IMPORT.format(name=name)
    done = subprocess.run([sys.executable, "-c", code, "run", "list"], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "Interrupted.\n"


def test_a_run_that_made_nothing_is_finished_and_not_made():
    screen = Screen(out=io.StringIO(), err=io.StringIO(), clock=SystemClock())
    cli = Cli(settings=read_settings({}, is_root=False), screen=screen, timing=Timing())
    assert told(cli, {"ref": "run:r_1", "seconds": 0.03, "outputs": []}) == "Finished run:r_1 in 0.03 s."
    made = {"ref": "run:r_1", "seconds": 0.03, "outputs": [{"ref": "dataset:a@v1"}]}
    assert told(cli, made) == "Made dataset:a@v1 in 0.03 s."


@pytest.mark.parametrize(("option", "value"), [("--time", "0s"), ("--memory", "0GB")])
def test_a_quantity_of_nothing_is_refused_before_a_server_is_asked(option, value):
    code, out, _ = run("run", "start", option, value, "--json", "--", "true")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (1, "bad_quantity")
    assert f"Give {option} more than nothing" in error["fix"]
    assert run("run", "start", "--cpus", "0", "--", "true")[0] == 2


def test_a_desk_that_is_not_there_is_told_in_commands():
    with pytest.raises(Missing) as caught, desk_named("counter"):
        raise Missing("not_found", "There is no desk 'main/counter'.", fix="See what you may ask: GET /v1/models")
    assert caught.value.fix.startswith("See what there is: baray service list")
    assert "GET" not in caught.value.fix


def test_a_token_that_is_not_there_is_told_with_where_to_look():
    assert NotFound("token", "nosuch").fix == "See yours: baray token list"


def test_the_example_of_a_public_desk_labels_its_documents_public():
    assert "--label public --audience public" in CREATE.example
