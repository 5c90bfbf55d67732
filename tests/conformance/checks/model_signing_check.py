"""OpenSSF Model Signing reads what we signed, finds what was changed, and signs a Model that we are to read.

python model_signing_check.py FOLDER KEY WORK
"""

import json
import shutil
import sys
from pathlib import Path

import model_signing
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def verdict(folder: Path, key: Path) -> str:
    try:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, folder / "model.sig")
    except (ValueError, InvalidSignature) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def copy(folder: Path, work: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, work / name))


folder, key, work = (Path(text) for text in sys.argv[1:])
said = {"as it is": verdict(folder, key)}
changed = copy(folder, work, "changed")
data = bytearray((changed / "model.safetensors").read_bytes())
data[-1] ^= 1
(changed / "model.safetensors").write_bytes(data)
said["a byte flipped"] = verdict(changed, key)
more = copy(folder, work, "more")
(more / "extra.py").write_text("print()")
said["a file added"] = verdict(more, key)
less = copy(folder, work, "less")
(less / "README.md").unlink()
said["a file removed"] = verdict(less, key)
private = ec.generate_private_key(ec.SECP256R1())
(work / "their.key").write_bytes(
    private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
)
(work / "their.pub").write_bytes(
    private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
)
said["another key"] = verdict(folder, work / "their.pub")
theirs = copy(folder, work, "theirs")
(theirs / "model.sig").unlink()
model_signing.signing.Config().use_elliptic_key_signer(private_key=work / "their.key").sign(
    theirs, theirs / "model.sig"
)
print(json.dumps(said))
