"""What we emit, read by the libraries of those who define the formats, each in an environment of its own.

None of them is a dependency: they check from outside. `pins/` says which versions; an environment is made once, below
`.venv/conformance`. Where packages cannot be had the tests are skipped, and fail where CI promises them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from environments import environment

HERE = Path(__file__).parent
KHMER = "ឯកសាររដ្ឋបាលខេត្ត"
LETTERS = "លិខិតចូល"
LICENCES = ("CC-BY-4.0", "Apache-2.0")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Made:
    """What a real home made, taken out of it."""

    home: Path
    key: Path
    model: Path
    dataset: Path
    provenance: Path
    environ: dict[str, str]

    def baray(self, *argv: str, code: int = 0) -> str:
        return command(self.environ, *argv, code=code)


def command(environ: dict[str, str], *argv: str, code: int = 0) -> str:
    line = [sys.executable, "-m", "baray", *argv]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A home with a Dataset and a Model of the sample's files, under Khmer titles and two licences."""
    place = tmp_path_factory.mktemp("made")
    place.chmod(0o755)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environ = kept | {"HOME": str(place), "BARAY_HOME": str(place / "home")}
    sample = Path(str(resources.files("baray"))) / "samples" / "one-window"
    for name in ("land", "social"):
        shutil.copytree(sample / "documents" / name, place / "papers" / name, ignore=shutil.ignore_patterns("*.png"))

    def run(*argv: str) -> Any:
        return json.loads(command(environ, *argv, "--json"))

    try:
        about = ("--label", "public", "--licence")
        run("source", "add", "papers", str(place / "papers"), "--title", KHMER, *about, LICENCES[0])
        run("source", "add", "letters", str(sample / "letters.csv"), "--title", LETTERS, *about, LICENCES[1])
        dataset = run("dataset", "build", "text", "--name", "papers", "--source", "papers", "--follow")
        trained = run("train", "text-classifier", "--dataset", "source:letters", "--name", "router", "--follow")
        run("dataset", "export", dataset["outputs"][0]["ref"], str(place / "dataset"))
        run("model", "export", trained["outputs"][0]["ref"], str(place / "model"))
        envelope = place / "provenance.dsse.json"
        envelope.write_text(command(environ, "run", "show", trained["id"], "--provenance"), encoding="utf-8")
        key = place / "artifacts.pub"
        shutil.copy(place / "home" / "keys" / "artifacts.pub", key)
    finally:
        command(environ, "down")
    return Made(
        home=place / "home",
        key=key,
        model=place / "model",
        dataset=place / "dataset",
        provenance=envelope,
        environ=environ,
    )


@pytest.fixture(scope="session")
def check(missing: Callable[[str], None]) -> Callable[..., Any]:
    """`check("in-toto", "in_toto_check.py", ...)`: what the script said in that tool's environment."""

    def run(tool: str, script: str, *argv: Path) -> Any:
        python = environment(tool, missing)
        line = [str(python), "-I", str(HERE / "checks" / script), *(str(one) for one in argv)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env={"LANG": "C.UTF-8"})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_model_signing_reads_our_signature_and_we_read_its(made, check, tmp_path):
    said = check("model-signing", "model_signing_check.py", made.model, made.key, tmp_path)
    assert said.pop("as it is") == "ok"
    assert {case for case, verdict in said.items() if verdict == "ok"} == set()
    assert set(said) == {"a byte flipped", "a file added", "a file removed", "another key"}
    theirs = json.loads(
        made.baray("model", "verify", str(tmp_path / "theirs"), "--key", str(tmp_path / "their.pub"), "--json")
    )
    assert theirs["ok"]
    assert theirs["label"] == ""


def test_our_own_check_of_the_folder_needs_no_server(made, tmp_path):
    said = json.loads(made.baray("model", "verify", str(made.model), "--json"))
    assert (said["ok"], said["name"], said["label"], said["licences"]) == (True, "router", "public", [LICENCES[1]])
    assert not (made.home / "endpoint.json").exists()
    copy = Path(shutil.copytree(made.model, tmp_path / "copy"))
    (copy / "README.md").write_text("Another card.")
    wrong = json.loads(made.baray("model", "verify", str(copy), "--key", str(made.key), "--json", code=1))
    assert [finding.partition(":")[0] for finding in wrong["findings"]] == ["README.md"]


def test_in_toto_reads_the_provenance(made, check):
    said = check("in-toto", "in_toto_check.py", made.provenance, made.key)
    assert said["as it is"] == "ok"
    assert said["a label changed"] == said["another type"] == "VerificationError"
    assert said["predicate"] == "https://slsa.dev/provenance/v1"
    assert said["subjects"][0] == "model:router@v1"
    assert "model:router@v1/model.sig" in said["subjects"]
    assert said["builder"].startswith("urn:baray:home:baray.home/h_")
    assert said["invocation"].startswith("run:r_")
    (letters,) = said["dependencies"]
    assert (letters["uri"], letters["digests"]) == ("urn:baray:source:letters@v1", ["sha256"])
    told = {name: letters["annotations"][name] for name in ("title", "label", "licences")}
    assert told == {"title": LETTERS, "label": "public", "licences": [LICENCES[1]]}


def test_cyclonedx_reads_the_bill_of_materials(made, check):
    said = check("cyclonedx", "cyclonedx_check.py", made.model / "bom.json")
    assert (said["as it is"], said["a word that is none"]) == ("ok", "refused")
    assert said["component"] == ["machine-learning-model", "router"]
    assert said["licences"] == [LICENCES[1]]
    assert LETTERS in said["descriptions"]


def test_mlcroissant_reads_the_dataset(made, check):
    said = check("mlcroissant", "croissant_check.py", made.dataset / "croissant.json")
    assert (said["errors"], said["warnings"]) == ([], [])
    assert said["name"] == "papers"
    assert said["licence"] == [f"https://spdx.org/licenses/{LICENCES[0]}"]
    assert KHMER in said["description"]
    assert any("ក" <= character <= "៿" for text in said["texts"] for character in text)
    assert {"id", "text", "label", "valid_until"} <= set(said["fields"])
