#!/usr/bin/env python3
"""From a folder of text to a chat with a model that has read nothing else.

    scripts/setup lm
    .venv/bin/python examples/train_and_chat.py FOLDER [--name NAME] [--minutes 5] [--params 2M]

Every step prints the command that does it: the script only strings them together, and each works by itself. What it
makes stays: a second start reuses it and goes straight to the chat. It talks as a small model does that was made in
minutes on one machine: in the manner of your texts, and with nobody's knowledge but theirs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEAST_ANSWER_CHARACTERS, MOST_ANSWER_CHARACTERS = 20, 160
MOST_PAIRS = 2000
READY_SECONDS = 120.0


def main() -> None:
    """Text -> Documents -> tokens -> a model that continues -> a model that answers -> a chat."""
    asked = arguments()
    name, small = asked.name, asked.minutes < 1
    say("1. Clean the text: normalise Khmer, drop duplicates and broken files, take personal numbers out.")
    baray("source", "add", f"{name}-files", asked.folder)
    baray("dataset", "build", "text", "--name", name, "--source", f"{name}-files", "--follow")

    say(
        "2. Learn to cut it into tokens. Letters and the marks on them stay together, or Khmer would cost three times as many."
    )
    vocab = ["--set", f"vocab={600 if small else 4000}", "--set", "held_out=10%"]
    baray("train", "tokenizer", "--dataset", name, "--name", f"{name}-tokenizer", *vocab, "--follow")
    cut = ["--set", f"tokenizer=model:{name}-tokenizer", "--set", "held_out=10%"]
    baray("dataset", "build", "tokens", "--name", f"{name}-tokens", "--dataset", name, *cut, "--follow")

    say(
        "3. Train from scratch. Pull the plug if you like: started again, it goes on from its Checkpoint to the same bits."
    )
    learn = ["--set", f"params={asked.params}", "--set", "context=256"]
    learn += ["--set", "batch_tokens=2048"] + (
        ["--set", "steps=40"] if small else ["--set", f"budget={asked.minutes}min"]
    )
    baray("train", "lm", "--dataset", f"{name}-tokens", "--name", f"{name}-reader", *learn, "--follow")

    say("4. Measure it on Documents that were held out, beside models that only count bytes.")
    baray("evaluate", f"{name}-reader", "--dataset", f"{name}-tokens")

    say("5. Teach it to answer: a heading asks, what stands below it answers. Only the answers are learnt.")
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "conversations.jsonl"
        rows = list(conversations(Path(asked.folder)))
        pairs.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        say(f"   {len(rows)} pairs, the first: {rows[0]['prompt'][:60]!r}")
        baray("source", "add", f"{name}-conversations", str(pairs))
    teach = ["--base", f"model:{name}-reader", "--set", "method=full", "--set", f"epochs={1 if small else 3}"]
    baray(
        "train", "finetune", "--dataset", f"source:{name}-conversations", "--name", f"{name}-talker", *teach, "--follow"
    )

    say("6. Give it a name at which programs ask it, in OpenAI's words.")
    baray("service", "deploy", f"{name}-chat", "--model", f"model:{name}-talker")
    wait_until_ready(f"{name}-chat")
    chat(f"{name}-chat", rows[0]["prompt"])


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="From a folder of text to a chat with a model of its own.")
    parser.add_argument("folder", help="text in files that Baray reads: TXT, MD, HTML, DOCX, PDF ...")
    parser.add_argument("--name", default="own", help="what names of Datasets and Models begin with")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training; below 1: a few steps, to see it work")
    parser.add_argument("--params", default="2M", help="size of the model")
    return parser.parse_args()


def say(text: str) -> None:
    """A line of the story."""
    print(f"\n{text}", flush=True)


def baray(*words: str) -> None:
    """Show a command and run it; the end of the story where it fails."""
    print(f"   $ baray {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "baray", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def ask_baray(*words: str) -> dict[str, Any]:
    """The document that a command prints with --json."""
    done = subprocess.run([sys.executable, "-m", "baray", *words, "--json"], check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def conversations(folder: Path) -> Iterator[dict[str, str]]:
    """A short line and the text below it, from every plain text of the folder."""
    found = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".txt", ".md"} or not path.is_file():
            continue
        lines = [line.strip(" #\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        lines = [line for line in lines if line]
        for heading, body in itertools.pairwise(lines):
            if len(heading) < len(body) and len(body) >= LEAST_ANSWER_CHARACTERS and found < MOST_PAIRS:
                found += 1
                yield {"prompt": heading, "answer": body[:MOST_ANSWER_CHARACTERS]}


def wait_until_ready(service: str) -> None:
    """A Service answers a moment after it was deployed: a process of its own loads the model."""
    end = time.monotonic() + READY_SECONDS
    while ask_baray("service", "show", service)["state"] != "ready":
        if time.monotonic() > end:
            sys.exit(f"service:{service} is not ready; see: baray service logs {service}")
        time.sleep(0.5)


def chat(service: str, example: str) -> None:
    """Lines in, lines out, until the end of input. Any program that speaks OpenAI's words can do the same."""
    url = ask_baray("status")["router_url"] + "/v1/chat/completions"
    key = ask_baray("key", "create", f"chat-{secrets.token_hex(3)}", "--service", service, "--clearance", "internal")[
        "token"
    ]
    say(f"Ask at {url} with model={service!r}; here, write a line (for example: {example}), or end with Ctrl-D.")
    turns: list[dict[str, str]] = []
    for line in sys.stdin:
        turns = [*turns[-2:], {"role": "user", "content": line.strip()}]
        said = ""
        for piece in stream(url, key, {"model": service, "messages": turns, "max_tokens": 80, "temperature": 0.7}):
            print(piece, end="", flush=True)
            said += piece
        print(flush=True)
        turns.append({"role": "assistant", "content": said})


def stream(url: str, key: str, body: dict[str, Any]) -> Iterator[str]:
    """An answer in the pieces in which it is made: server-sent events, ended by [DONE]."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({**body, "stream": True}).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        for row in response:
            if row.startswith(b"data: ") and row.strip() != b"data: [DONE]":
                for choice in json.loads(row[6:])["choices"]:
                    yield choice["delta"].get("content") or ""


if __name__ == "__main__":
    main()
