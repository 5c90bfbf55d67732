"""Writes the locks beside it: `python requirements/lock.py UV`, with UV the path of the `uv` program.

One lock an extra, each complete in itself (core's packages included), all from one resolution, so that any
two can be installed together. A lock names no index, no folder and no host: where packages come from is the
installing machine's own business, and the hashes decide what is accepted. Only the files that a Linux machine
with a supported Python can use are listed: wheels for x86_64 and aarch64, pure wheels, source archives.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EVERY = ["data", "train", "lm", "engines", "interop", "dev"]
EXTRAS = {"core": [], **{name: [name] for name in EVERY[:-1]}, "dev": EVERY}
# torch is pinned by hand: what the usual index has under that name brings gigabytes of libraries for one maker's GPUs. These are
# the digests of its wheels for processors alone, 2.13.0+cpu, as their makers' own index tells them.
TORCH_VERSION = "2.13.0"
TORCH_WHEELS = {
    "cp311 aarch64": "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    "cp311 x86_64": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "cp312 aarch64": "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
    "cp312 x86_64": "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    "cp313 aarch64": "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",
    "cp313 x86_64": "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
}
WITH_TORCH = ("lm", "dev")
NEEDS_OF_TORCH = "filelock\nfsspec\njinja2\nnetworkx\nsetuptools>=77\nsympy>=1.13.3\ntyping-extensions>=4.10\n"
# What builds the editable install: set-up runs pip without build isolation, so that nothing is fetched unhashed.
BUILD = "setuptools>=77\n"
PYTHONS = ("cp311", "cp312", "cp313")
WHEEL = re.compile(r"-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl$")


def main(uv: str) -> None:
    """Resolve once for all extras, then write each extra's part."""
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder, "build.in")
        build.write_text(BUILD)
        torch = Path(folder, "torch.in")
        torch.write_text(BUILD + NEEDS_OF_TORCH)
        Path(folder, "without.txt").write_text("torch ; sys_platform == 'none'\n")
        pins = Path(folder, "pins.txt")
        compile_lock(uv, EXTRAS["dev"], torch, pins)
        everything = Path(folder, "pylock.toml")
        compile_lock(uv, EXTRAS["dev"], torch, everything)
        packages = tomllib.loads(everything.read_text())["packages"]
        for name, extras in EXTRAS.items():
            part = Path(folder, f"{name}.txt")
            compile_lock(uv, extras, torch if name in WITH_TORCH else build, part, constraint=pins)
            wanted = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", part.read_text(), re.MULTILINE))
            chosen = [
                p
                for p in packages
                if p["name"] in wanted and p["name"] != "torch" and "win32" not in p.get("marker", "")
            ]
            lines = [render(p) for p in chosen] + [render_torch()] * (name in WITH_TORCH)
            HERE.joinpath(f"{name}.txt").write_text("".join(sorted(lines, key=lambda line: line.split("==")[0])))


def compile_lock(uv: str, extras: list[str], build: Path, out: Path, *, constraint: Path | None = None) -> None:
    """Let uv resolve pyproject.toml with `extras` for every supported Python, into `out`."""
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--universal", "--python-version", "3.11"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += [word for extra in extras for word in ("--extra", extra)]
    command += ["--format", "pylock.toml" if out.suffix == ".toml" else "requirements.txt"]
    command += ["--constraints", str(constraint)] if constraint else []
    command += ["--overrides", str(build.with_name("without.txt"))]
    command += [str(HERE.parent / "pyproject.toml"), str(build), "--output-file", str(out)]
    subprocess.run(command, check=True)


def render(package: dict[str, Any]) -> str:
    """One package's lines: the pin, its marker, and the digests of the files that fit."""
    files = [wheel for wheel in package.get("wheels", []) if fits(wheel["url"].rsplit("/", 1)[-1])]
    files += [package["sdist"]] if "sdist" in package else []
    hashes = sorted({file["hashes"]["sha256"] for file in files})
    # The supported Pythons start at 3.11, so uv's own "3.11 or later" says nothing.
    condition = re.sub(r"python_full_version >= '3\.11'( and )?", "", package.get("marker", ""))
    marker = f" ; {condition}" if condition else ""
    lines = [f"{package['name']}=={package['version']}{marker}", *(f"    --hash=sha256:{h}" for h in hashes)]
    return " \\\n".join(lines) + "\n"


def render_torch() -> str:
    """Torch's lines: one pin, a digest for each Python and machine."""
    lines = [f"torch=={TORCH_VERSION}", *(f"    --hash=sha256:{digest}" for digest in sorted(TORCH_WHEELS.values()))]
    return " \\\n".join(lines) + "\n"


def fits(filename: str) -> bool:
    """Say whether a wheel is for Linux on x86_64 or aarch64 and for a supported Python."""
    match = WHEEL.search(filename)
    if match is None:
        return False
    pythons, platform = match["python"].split("."), match["platform"]
    stable = match["abi"] == "abi3" and any(p.startswith("cp3") and int(p[3:]) <= 13 for p in pythons)
    right_python = stable or "py3" in pythons or any(p in PYTHONS and match["abi"] == p for p in pythons)
    return right_python and (
        platform == "any" or ("manylinux" in platform and ("x86_64" in platform or "aarch64" in platform))
    )


if __name__ == "__main__":
    main(sys.argv[1])
