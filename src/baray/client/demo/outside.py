"""What others do with a Model: check it, open it with their own program, ask it at a name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from baray.client.demo.acts import Stage
from baray.client.sdk.client import thing_path
from baray.client.sdk.transport import Endpoint, Http, Json, Request
from baray.core import Fault, Refused, parse_ref

_READY_SECONDS = 120.0
_CHILD_SECONDS = 180.0
_MISSING = 77  # exit code of a child that lacks a package
# Programs of other people, in processes of their own: none of it is imported here.
_OPEN = """
import importlib.util, json, sys
if importlib.util.find_spec("transformers") is None: sys.exit(77)
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__
folder, prompt, count = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
asked = tokenizer(prompt, return_tensors="pt")
said = model.generate(**asked, max_new_tokens=int(count), do_sample=False)
text = tokenizer.decode(said[0, asked["input_ids"].shape[1]:], skip_special_tokens=True)
print(json.dumps({"version": __version__, "class": type(model).__name__, "text": text}))
"""
_ASK = """
import importlib.util, json, os, sys
if importlib.util.find_spec("openai") is None: sys.exit(77)
import openai
url, model, prompt, count = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key=os.environ["OPENAI_API_KEY"])
said = client.completions.create(model=model, prompt=prompt, max_tokens=int(count), temperature=0)
print(json.dumps({"id": said.id, "text": said.choices[0].text, "way": f"openai {openai.__version__}"}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What `transformers` made of an export."""

    text: str | None
    """How it goes on, greedily; None where `transformers` is not installed."""


def verify_model(stage: Stage, ref: str) -> None:
    """Signature, files, label and licences of a Model version, as `baray model verify` checks them."""
    found = stage.cli.client.get(thing_path(parse_ref(ref, kind="model")) + "/verification")
    if not found["ok"]:
        raise Refused("not_proven", f"{ref}: {'; '.join(found['findings'])}", fix=f"baray model verify {ref}")
    stage.story.fact("{ref}: signed; {files} files as they were made.", ref=ref, files=len(found["files"]))


def open_with_transformers(stage: Stage, ref: str, prompt: str, count: int) -> Opened:
    """Export a Model version, and let `transformers` open it in a process of its own and write `count` tokens."""
    with TemporaryDirectory(prefix="baray-demo-") as folder:
        export = str(Path(folder) / "export")
        _child(stage, [sys.executable, "-m", "baray", "model", "export", ref, export, "--home", _home(stage)])
        found = _child(stage, [sys.executable, "-c", _OPEN, export, prompt, str(count)], HF_HUB_OFFLINE="1")
    if found is None:
        stage.story.fact("transformers is not installed here, so that it did not open the export.")
        return Opened(text=None)
    told = json.loads(found.splitlines()[-1])
    stage.story.fact("transformers {version} opens the export as {name}.", version=told["version"], name=told["class"])
    return Opened(text=str(told["text"]))


def deploy(stage: Stage, name: str, ref: str) -> str:
    """Serve a Model version at a name, and wait until its Replica answers."""
    cli = stage.cli
    _child(
        stage,
        [sys.executable, "-m", "baray", "service", "deploy", name, "--model", ref, "--home", _home(stage), "--json"],
    )
    end = cli.timing.clock.monotonic() + _READY_SECONDS
    with cli.screen.progress(f"service:{name}") as progress:
        while (service := cli.client.get(f"services/{name}"))["state"] != "ready":
            progress.note(service["state"])
            if cli.timing.clock.monotonic() > end:
                raise Fault(
                    "not_ready",
                    f"service:{name} is {service['state']} after {_READY_SECONDS:.0f} s.",
                    fix=f"See why: baray service logs {name}",
                )
            cli.timing.sleep(0.1)
    cli.client.await_served(name, limit_seconds=_READY_SECONDS)
    return name


def ask_router(stage: Stage, service: str, prompt: str, count: int) -> Json:
    """`id`, `text` and `way` of a completion: by OpenAI's own client where it is installed, else by plain HTTP."""
    cli = stage.cli
    url = str(cli.client.status()["router_url"])
    token = cli.client.endpoint.token
    told = _child(stage, [sys.executable, "-c", _ASK, f"{url}/v1", service, prompt, str(count)], OPENAI_API_KEY=token)
    if told is not None:
        found: Json = json.loads(told.splitlines()[-1])
        return found | {"id": _answer_id(found["id"])}
    router = Http(lambda: Endpoint(url=url, token=token), timing=cli.timing, patience_seconds=cli.patience_seconds)
    body: Json = {"model": service, "prompt": prompt, "max_tokens": count, "temperature": 0}
    said = router.json(Request(method="POST", path="/v1/completions", body=body, repeatable=True))
    router.close()
    return {"id": _answer_id(said["id"]), "text": said["choices"][0]["text"], "way": "HTTP"}


def _answer_id(completion: str) -> str:
    """The Answer's ref, of which the completion's id is made."""
    return f"answer:{completion.removeprefix('cmpl-')}"


def _home(stage: Stage) -> str:
    return str(stage.cli.settings.home)


def _child(stage: Stage, command: list[str], **environ: str) -> str | None:
    """What a program says; None where it lacks the package it is about. Raises Fault `program_failed`."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**stage.cli.settings.environ, **environ},
        timeout=_CHILD_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == _MISSING:
        return None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise Fault(
            "program_failed", f"{command[1]} {command[2]} ended with {done.returncode}: {said}", fix="See what it says."
        )
    return done.stdout
