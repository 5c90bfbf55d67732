"""Trusted handlers for the drills: loaded in an Attempt's own process, as the built-in recipes are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from baray.catalog import FileEntry, Output
from baray.core import Refused, digest_file


def copy(context):
    """Copies its inputs, and tells a metric and its progress."""
    folder = context.out / context.spec["name"]
    folder.mkdir(parents=True)
    entries = []
    for one in context.inputs.values():
        for number, file in enumerate(one.files):
            (folder / file.path).write_bytes(file.blob.read_bytes())
            digest = digest_file(folder / file.path)
            entries.append(FileEntry(path=file.path, digest=digest, bytes=file.bytes))
            context.metric("files", number + 1, step=number)
            context.progress(number + 1, len(one.files), "files")
    context.log(f"copied {len(entries)} files on {context.today}")
    digest = context.inputs["source"].digest
    labels = tuple(file.label for one in context.inputs.values() for file in one.files)
    name = context.spec["name"]
    return [Output(kind="dataset", name=name, digest=digest, labels=labels, files=tuple(entries), summary={"files": 1})]


def refuse(context):
    """Says that the caller has to mend something."""
    raise Refused("bad_letters", "There are no letters in it.", fix="Give it letters.")


def crash_once(context):
    """Fails in its first attempt only."""
    if not (context.run_dir / "seen").exists():
        (context.run_dir / "seen").touch()
        raise ValueError("the first time it fails")
    return []


def lie(context):
    """Tells a digest that its bytes do not have."""
    folder = context.out / "x"
    folder.mkdir(parents=True)
    (folder / "a").write_text("a")
    entry = FileEntry(path="a", digest="sha256:" + "0" * 64, bytes=1)
    return [Output(kind="dataset", name="x", digest=entry.digest, labels=(), files=(entry,), summary={})]


def hold(context):
    """Leaves a grandchild in a session of its own and waits for a file, as a long training does."""
    mark = context.spec["options"]["mark"]
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", mark], start_new_session=True)
    (context.run_dir / f"started-{os.getpid()}").touch()
    while not Path(context.spec["options"]["until"]).exists():
        time.sleep(0.01)
    return []
