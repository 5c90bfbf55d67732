"""Training a language model on processors, beside what a user would take instead: tokens a second, and time to a quality.

One shape (10 million numbers, width 320, 6 layers, vocabulary 8,192), windows of 256, 16 a step, bf16, gradients clipped, threads =
cores. Speed: random tokens with Document boundaries; all loops are loaded and warm, then take turns in short blocks, so that
load hits them alike; each figure is the median of its steps. Ours takes Muon and masks other Documents, the peers AdamW and do
neither; ours gives the same bits every time, the peers promise nothing. `lm.tokens_per_s.*` is ours compiled, as trainings of over
five minutes run; `lm.eager.tokens_per_s.*` is ours as shorter ones run; `lm.adamw.tokens_per_s.*` is ours compiled with the peers'
optimizer; `lm.loose.tokens_per_s.vs_exact` is what the same bits cost.

`lm.cpu_ms.*`: processor time of a step, all threads, by the same turns: it hardly depends on what else the machine does.
`lm.share_of_peak`: floating-point operations a second of processor time, of what one core does in a product of two square matrices.

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
from dataclasses import dataclass
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
WAYS = {
    "ours-compiled": "lm.tokens_per_s",
    OURS: "lm.eager.tokens_per_s",
    "ours-adamw-compiled": "lm.adamw.tokens_per_s",
}
LOOSE, PEAK = "ours-loose-compiled", "peak"
STEP_FLOPS = TOKENS * (6 * 10_244_928 + 12 * 6 * 320 * CONTEXT)  # as Shape.flops_per_token counts
PEAK_FLOPS = 2 * 2048**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Of one loop, medians."""

    tokens: float
    """A second."""
    cpu_ms: float
    """Processor time of a step, all threads."""


def measure(context: Context) -> Iterator[Figure]:
    """Yield the figures `lm.*`."""
    speeds = speed(context)
    exact = speeds["ours-compiled"]
    for ours, name in WAYS.items():
        for peer, peer_name in NAMES.items():
            if peer in speeds:
                yield beside(f"{name}.vs_{peer_name}", speeds[ours].tokens, speeds[peer].tokens, peer_name)
    yield beside("lm.loose.tokens_per_s.vs_exact", speeds[LOOSE].tokens, exact.tokens, "the same bits every time")
    for peer, peer_name in NAMES.items():
        if peer in speeds:
            yield beside(f"lm.cpu_ms.vs_{peer_name}", exact.cpu_ms, speeds[peer].cpu_ms, peer_name, "ms")
    reached, most = STEP_FLOPS / exact.cpu_ms / 1e6, PEAK_FLOPS / speeds[PEAK].cpu_ms / 1e6
    yield beside("lm.share_of_peak", reached, most, "a square product in bf16, one core", "GFLOP/s")
    yield from quality(context, speeds[PLAIN].tokens)


def beside(name: str, value: float, peer_value: float, peer: str, unit: str = "tokens/s") -> Figure:
    """A figure with a peer."""
    return Figure(name=name, value=value, unit=unit, peer=peer.replace("_", ", "), peer_value=peer_value)


def speed(context: Context) -> dict[str, Speed]:
    """How fast each loop is."""
    np = importlib.import_module("numpy")
    chance = np.random.default_rng(1)
    rows = chance.integers(1, VOCAB, (64, CONTEXT + 1))
    rows[chance.random(rows.shape) < 1 / DOCUMENT_TOKENS] = EOS
    data = context.folder / "random.npz"
    np.savez(data, rows=rows, held=rows[0])
    kinds = [*WAYS, LOOSE, PLAIN, PEAK]
    if importlib.util.find_spec("transformers"):
        kinds += ["trainer", "trainer-compiled"]
    else:
        print("train: transformers is not installed, so Trainer does not stand beside; scripts/setup test brings it")
    found: dict[str, list[list[float]]] = defaultdict(list)
    with ExitStack() as stack:
        loops = {kind: stack.enter_context(loop(kind, data, 1_000_000)) for kind in kinds}
        for child in loops.values():  # all at once: compiling takes a minute
            tell(child, WARM_UP_STEPS)
        for child in loops.values():
            hear(child)
        for turn in range(3 if context.quick else 12):
            for kind in kinds if turn % 2 == 0 else kinds[::-1]:
                found[kind] += ask(loops[kind], BLOCK_STEPS)
    speeds = {}
    for kind, steps in found.items():
        wall, processor = (statistics.median(column) for column in zip(*steps, strict=True))
        speeds[kind] = Speed(tokens=TOKENS / wall, cpu_ms=1000 * processor)
    return speeds


def quality(context: Context, plain_tokens: float) -> Iterator[Figure]:
    """Both loops by turns on text; ours is looked at after each turn."""
    data = context.folder / "text.npz"
    write_text(data)
    steps = max(20, round((120 if context.quick else 600) * plain_tokens / TOKENS))
    ours_steps, turn_steps = round(steps * SHARE), [0, 0]
    turns = min(20, ours_steps)
    spent = {OURS: 0.0, PLAIN: 0.0}
    curve: list[tuple[float, float]] = []
    with loop(PLAIN, data, steps) as plain, loop(OURS, data, ours_steps) as ours:
        for turn in range(1, turns + 1):
            for at, (kind, child, total) in enumerate(((PLAIN, plain, steps), (OURS, ours, ours_steps))):
                due = round(total * turn / turns)
                spent[kind] += sum(wall for wall, _ in ask(child, due - turn_steps[at]))
                turn_steps[at] = due
            curve.append((spent[OURS], loss_of(ours)))
        aim = loss_of(plain)
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


def hear(child: subprocess.Popen[str]) -> str:
    """The answer; lines that a library prints are passed over."""
    assert child.stdout is not None
    for line in child.stdout:
        if line[0] in "[0123456789":
            return line
    raise RuntimeError(f"{child.args!r} ended without an answer")


def ask(child: subprocess.Popen[str], steps: int) -> list[list[float]]:
    """Seconds, and seconds of processor time, of each step."""
    tell(child, steps)
    found: list[list[float]] = json.loads(hear(child))
    return found


def loss_of(child: subprocess.Popen[str]) -> float:
    """The held-out loss."""
    tell(child, 0)
    return float(hear(child))


def trainer_packages() -> Path:
    """What Trainer needs beside what is here, in a folder of its own, made from its pins if it is not there."""
    pins = HERE / "peers" / "trainer.txt"
    folder = PEERS / f"trainer-{hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    if not (folder / "whole").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "--upgrade"]
        subprocess.run([*command, "--target", str(folder), "-r", str(pins)], check=True)
        (folder / "whole").touch()
    return folder
