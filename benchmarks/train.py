"""Training a language model on processors, beside what a user would take instead: tokens a second, and time to a quality.

One shape (10 million numbers, width 320, 6 layers, vocabulary 8,192), windows of 256, 16 a step, bf16, gradients clipped, threads =
cores. Speed: random tokens with Document boundaries; all loops are loaded and warm, then take turns in short blocks, so that
load hits them alike; each figure is the median of its steps. Ours takes Muon and masks other Documents, the peers AdamW and do
neither. `lm.tokens_per_s.*` is ours compiled, as trainings of over fifteen minutes run; `lm.eager.tokens_per_s.*` is ours as
shorter ones run.

`lm.time_to_quality`: the plain AdamW loop trains for two minutes (`--quick`; ten else) on text; ours is planned for three fifths
of its steps, by turns with it, neither compiled. The figure: our seconds until we are at the loss it ends with, beside its
seconds. Looks at the loss do not count. Not reached: there is no such figure. `lm.held_out_loss` is where both end.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from figures import Context, Figure

import baray

HERE = Path(__file__).resolve().parent
SAMPLE = Path(baray.__file__).parent / "samples" / "one-window"
TEXT = HERE.parents[1] / "shared" / "data" / "khmer" / "text" / "wiki.txt"
PEERS = HERE.parent / ".venv" / "peers"
TOKENS, ROWS, CONTEXT, VOCAB, EOS = 4096, 16, 256, 8192, 0
DOCUMENT_TOKENS, WARM_UP_STEPS, BLOCK_STEPS = 700, 3, 3
SHARE, HELD_TOKENS = 0.6, 8192
OURS, PLAIN = "ours", "nanogpt"
NAMES = {"trainer": "trainer_eager", "trainer-compiled": "trainer_compiled", PLAIN: "nanogpt"}


def measure(context: Context) -> Iterator[Figure]:
    """Yield the figures `lm.*`."""
    speeds = speed(context)
    for ours, name in (("ours-compiled", "lm.tokens_per_s"), (OURS, "lm.eager.tokens_per_s")):
        for peer in [peer for peer in NAMES if peer in speeds]:
            yield Figure(
                name=f"{name}.vs_{NAMES[peer]}",
                value=speeds[ours],
                unit="tokens/s",
                peer=NAMES[peer].replace("_", ", "),
                peer_value=speeds[peer],
            )
    yield from quality(context, speeds)


def speed(context: Context) -> dict[str, float]:
    """Tokens a second of each loop."""
    np = importlib.import_module("numpy")
    chance = np.random.default_rng(1)
    rows = chance.integers(1, VOCAB, (64, CONTEXT + 1))
    rows[chance.random(rows.shape) < 1 / DOCUMENT_TOKENS] = EOS
    data = context.folder / "random.npz"
    np.savez(data, rows=rows, held=rows[0])
    kinds = [OURS, "ours-compiled", PLAIN]
    if importlib.util.find_spec("transformers"):
        kinds += ["trainer", "trainer-compiled"]
    else:
        print("train: transformers is not installed, so Trainer does not stand beside; scripts/setup test brings it")
    seconds: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        loops = {kind: stack.enter_context(loop(kind, data, 1_000_000)) for kind in kinds}
        for child in loops.values():  # all at once: compiling takes a minute
            tell(child, WARM_UP_STEPS)
        for child in loops.values():
            hear(child)
        for turn in range(3 if context.quick else 12):
            for kind in kinds if turn % 2 == 0 else kinds[::-1]:
                seconds[kind] += ask(loops[kind], BLOCK_STEPS)
    return {kind: TOKENS / statistics.median(found) for kind, found in seconds.items()}


def quality(context: Context, speeds: dict[str, float]) -> Iterator[Figure]:
    """Both loops by turns on text; ours is looked at after each turn."""
    data = context.folder / "text.npz"
    write_text(data)
    steps = max(20, round((120 if context.quick else 600) * speeds[PLAIN] / TOKENS))
    ours_steps, turn_steps = round(steps * SHARE), [0, 0]
    turns = min(20, ours_steps)
    spent = {OURS: 0.0, PLAIN: 0.0}
    curve: list[tuple[float, float]] = []
    with loop(PLAIN, data, steps) as plain, loop(OURS, data, ours_steps) as ours:
        for turn in range(1, turns + 1):
            for at, (kind, child, total) in enumerate(((PLAIN, plain, steps), (OURS, ours, ours_steps))):
                due = round(total * turn / turns)
                spent[kind] += sum(ask(child, due - turn_steps[at]))
                turn_steps[at] = due
            curve.append((spent[OURS], ask(ours, 0)[0]))
        aim = ask(plain, 0)[0]
    reached = [seconds for seconds, loss in curve if loss <= aim]
    print(
        f"train: {steps} steps of the plain loop in {spent[PLAIN]:.0f} s, {ours_steps} of ours in {spent[OURS]:.0f} s"
    )
    if reached:
        peer = "plain AdamW loop"
        yield Figure(name="lm.time_to_quality", value=reached[0], unit="s", peer=peer, peer_value=spent[PLAIN])
    else:
        print("train: ours did not come to the plain loop's loss")
    yield Figure(name="lm.held_out_loss", value=curve[-1][1], unit="nats", peer="plain AdamW loop", peer_value=aim)


def write_text(data: Path) -> None:
    """Windows of nine paragraphs in ten, and the ids of the tenth: an encyclopaedia's beside the checkout, or the sample's."""
    np, learning = importlib.import_module("numpy"), importlib.import_module("baray.train.tokenizer.learning")
    own = [path for path in sorted(SAMPLE.rglob("*")) if path.suffix in (".csv", ".txt")]
    texts, gap = ([TEXT], "\n\n") if TEXT.exists() else (own, "\n")
    whole = gap.join(path.read_text(encoding="utf-8") for path in texts)
    paragraphs = [part for part in whole.split(gap) if part.strip()]
    learnt = [part for number, part in enumerate(paragraphs) if number % 10]
    tokenizer = learning.learn("bpe", learnt, VOCAB)

    stream, held = (
        np.array([one for found in tokenizer.encode_batch_fast(parts) for one in (*found.ids, EOS)])
        for parts in (learnt, paragraphs[::10])
    )
    starts = range(0, len(stream) - CONTEXT, CONTEXT)
    rows = np.stack([stream[start : start + CONTEXT + 1] for start in starts])
    rows = np.tile(rows, (-(-ROWS // len(rows)), 1))  # the sample may be shorter than a step
    np.savez(data, rows=rows, held=held[:HELD_TOKENS])
    print(f"train: text of {len(stream)} tokens, {texts[0].name if TEXT.exists() else 'the sample'}")


@contextmanager
def loop(kind: str, data: Path, steps: int) -> Iterator[subprocess.Popen[str]]:
    """One loop in a process of its own."""
    paths = [str(HERE.parent / "src")]
    if kind.startswith("trainer"):
        paths.append(str(trainer_packages()))
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(PEERS / "compiled"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    command = [sys.executable, str(HERE / "peers" / "trainers.py"), kind, str(data), str(steps)]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        yield child
        child.stdin.close()


def tell(child: subprocess.Popen[str], steps: int) -> None:
    """Ask for steps."""
    assert child.stdin is not None
    print(steps, file=child.stdin, flush=True)


def hear(child: subprocess.Popen[str]) -> list[float]:
    """The answer; lines that a library prints are passed over."""
    assert child.stdout is not None
    for line in child.stdout:
        if line[0] in "[0123456789":
            found = json.loads(line)
            return found if isinstance(found, list) else [found]
    raise RuntimeError(f"{child.args!r} ended without an answer")


def ask(child: subprocess.Popen[str], steps: int) -> list[float]:
    """Seconds of each step; the held-out loss alone for 0."""
    tell(child, steps)
    return hear(child)


def trainer_packages() -> Path:
    """What Trainer needs beside what is here, in a folder of its own, made from its pins if it is not there."""
    pins = HERE / "peers" / "trainer.txt"
    folder = PEERS / f"trainer-{hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    if not (folder / "whole").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "--upgrade"]
        subprocess.run([*command, "--target", str(folder), "-r", str(pins)], check=True)
        (folder / "whole").touch()
    return folder
