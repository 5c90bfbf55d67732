"""securesystemslib opens our DSSE envelope; in-toto's own types read the statement and its SLSA provenance.

python in_toto_check.py ENVELOPE KEY
"""

import base64
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def opened(data: dict, key: SSlibKey) -> str:
    try:
        Envelope.from_dict(json.loads(json.dumps(data))).verify([key], 1)
    except VerificationError as error:
        return type(error).__name__
    return "ok"


data = json.loads(Path(sys.argv[1]).read_bytes())
key = SSlibKey.from_crypto(load_pem_public_key(Path(sys.argv[2]).read_bytes()), keyid=data["signatures"][0]["keyid"])
said = {"as it is": opened(data, key)}
payload = base64.b64decode(data["payload"])
changed = payload.replace(b'"public"', b'"secret"', 1)
assert changed != payload
said["a label changed"] = opened(data | {"payload": base64.b64encode(changed).decode()}, key)
said["another type"] = opened(data | {"payloadType": "application/json"}, key)
# Unknown fields are errors here: nothing of ours may stand where the specifications have no place for it.
statement = json_format.Parse(payload, statement_pb2.Statement())
Statement.copy_from_pb(statement).validate()
provenance = json_format.ParseDict(json_format.MessageToDict(statement.predicate), provenance_pb2.Provenance())
definition = provenance.build_definition
said["predicate"] = statement.predicate_type
said["subjects"] = [one.name for one in statement.subject]
said["builder"] = provenance.run_details.builder.id
said["invocation"] = provenance.run_details.metadata.invocation_id
said["dependencies"] = [
    {"uri": one.uri, "digests": sorted(one.digest), "annotations": json_format.MessageToDict(one.annotations)}
    for one in definition.resolved_dependencies
]
print(json.dumps(said))
