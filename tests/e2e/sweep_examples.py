"""An example request of every route, for the sweeps over all of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

LEAVE = {"target": "registry.example:443"}
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Asked:
    """An example request of a route; `{words}` are taken from a project's things, `{fresh}` is a name nobody has."""

    query: str = ""
    body: Any = None
    path: dict[str, str] = field(default_factory=dict)
    """Placeholder of the route -> word, where it is not the usual one."""
    form: bool = False
    """The body is a form's."""
    mends: tuple[str, ...] = ()
    """Codes of refusals that come after policy has allowed: the state of things, not who asks."""
    own_token: bool = False
    """The request ends the caller's own token: a spare one is used."""


USUAL = {
    "/api/v1/services/": {"name": "desk"}, "/api/v1/datasets/": {"name": "dataset"}, "/api/v1/projects/": {"name": "project"},
    "/api/v1/nodes/": {"name": "=local"},
    "/api/v1/users/": {"name": "actor"}, "/datasets/": {"name": "dataset"}, "/models/": {"name": "model"},
    "/desks/": {"name": "desk"}, "/people/": {"name": "actor"}, "/api/v1/models/": {"name": "model"},
    "": {"run_id": "run", "answer_id": "answer", "token_id": "token", "request_id": "lowering",
         "credential_id": "token",
         "plural": "=datasets", "name": "dataset", "path": "file",
         "digest": "digest"},
}  # fmt: skip
"""Start of a route -> placeholder -> what stands there (`=` literally)."""

EXAMPLES = {
    "GET /api/v1/openapi.json": Asked(),
    "GET /api/v1/ledger/proof": Asked(query="ref=run:{run}"),
    "GET /api/v1/lineage": Asked(query="ref=run:{run}"),
    "GET /lineage": Asked(query="ref=dataset:{dataset}"),
    "GET /runs/compare": Asked(query="run={run}"),
    "GET /ledger/{path}": Asked(path={"path": "=checkpoint"}),
    "POST /labels/raise": Asked(
        body="ref=dataset:{dataset}&to=public&reason=an+example", form=True, mends=("not_higher",)
    ),
    "POST /labels/lower": Asked(body="ref=dataset:{dataset}&to=public&reason=an+example", form=True),
    "GET /api/v1/labels/show": Asked(query="ref=dataset:{dataset}"),
    "GET /api/v1/labels/impact": Asked(query="ref=dataset:{dataset}&to=secret"),
    "POST /api/v1/labels/raise": Asked(
        body={"ref": "dataset:{dataset}", "to": "public", "reason": "an example"}, mends=("not_higher",)
    ),
    "POST /api/v1/labels/lower": Asked(body={"ref": "dataset:{dataset}", "to": "public", "reason": "an example"}),
    "POST /api/v1/labels/requests/{request_id}/word": Asked(
        body={"verdict": "approve", "signature": "none"}, mends=("no_key", "self_approval")
    ),
    "POST /api/v1/labels/requests/{request_id}/passkey/begin": Asked(
        body={"verdict": "approve"}, mends=("no_passkey", "passkey_needs_name")
    ),
    "POST /api/v1/labels/requests/{request_id}/passkey": Asked(
        body={"verdict": "approve", "flow": "none", "credential": {}}, mends=("bad_flow",)
    ),
    "POST /api/v1/labels/key": Asked(body={"public": "no key"}, mends=("bad_key",)),
    "POST /api/v1/nodes/{name}/clearance": Asked(body={"label": ""}),
    "POST /api/v1/projects/{name}/egress": Asked(body=LEAVE),
    "POST /api/v1/projects/{name}/egress/revoke": Asked(body={"target": LEAVE["target"]}),
    "POST /api/v1/projects/{name}/clearance": Asked(body={"label": ""}),
    "POST /api/v1/blobs/missing": Asked(body={"digests": ["{digest}"]}),
    "PUT /api/v1/blobs/{digest}": Asked(
        path={"digest": "=sha256:" + hashlib.sha256(b"bytes").hexdigest()}, body=b"bytes"
    ),
    "POST /api/v1/datasets": Asked(body={"name": "{fresh}", "source": "{source}"}),
    "POST /api/v1/evaluations": Asked(body={"model": "{model}", "dataset": "{dataset}"}),
    "POST /api/v1/indexes": Asked(body={"name": "{fresh}", "dataset": "{dataset}"}),
    "POST /api/v1/ledger/cosign": Asked(body={"note": "no note"}, mends=("bad_cosignature",)),
    "POST /api/v1/ledger/witnesses": Asked(body={"name": "w", "vkey": "no key"}, mends=("bad_witness",)),
    "POST /api/v1/models": Asked(body={"name": "{fresh}", "recipe": "text-classifier", "dataset": "{dataset}"}),
    "POST /api/v1/projects": Asked(body={"name": "{fresh}"}),
    "POST /api/v1/projects/{name}/members": Asked(body={"actor": "{actor}", "role": "viewer"}),
    "POST /api/v1/reports/exports/reviewed": Asked(body={"upto": 0}),
    "POST /reports/exports/reviewed": Asked(body="upto=0", form=True),
    "POST /api/v1/queries": Asked(body={"sql": 'SELECT count(*) FROM "{dataset}"'}),
    "POST /api/v1/runs": Asked(body={"command": ["/bin/true"], "inputs": ["dataset:{dataset}"]}),
    "POST /api/v1/runs/self/metrics": Asked(body={"step": 1, "name": "loss", "value": 0.5}),
    "POST /api/v1/runs/{run_id}/retry": Asked(mends=("not_ended",)),
    "POST /api/v1/services": Asked(
        body={"name": "{fresh}", "kind": "desk", "index": "{index}", "audience": ["project"]}
    ),
    "POST /api/v1/services/{name}/rollback": Asked(body={"revision": 1}),
    "POST /api/v1/services/{name}/scale": Asked(body={"replicas": "1:1"}, mends=("bad_replicas",)),
    "POST /api/v1/services/{name}/ask": Asked(body={"question": "When is the office open?"}),
    "POST /api/v1/sources": Asked(body={"name": "{fresh}", "files": []}, mends=("no_files",)),
    "POST /api/v1/tokens": Asked(body={"name": "another", "expires": "1h"}),
    "DELETE /api/v1/tokens/{token_id}": Asked(),
    "POST /api/v1/users": Asked(body={"name": "{fresh}"}),
    "POST /api/v1/users/{name}/role": Asked(body={"role": ""}),
    "POST /api/v1/users/{name}/clearance": Asked(body={"clearance": "internal"}),
    "POST /api/v1/invitations": Asked(body={"name": "{fresh}", "role": "viewer"}),
    "POST /api/v1/account/code/confirm": Asked(body={"flow": "none", "code": "000000"}, mends=("bad_flow",)),
    "POST /api/v1/account/passkeys": Asked(body={"flow": "none", "credential": {}}, mends=("bad_flow",)),
    "POST /api/v1/account/prove": Asked(body={"password": "no"}, mends=("bad_sign_in",)),
    "POST /api/v1/account/prove/passkey": Asked(body={"flow": "none", "credential": {}}),
    "PUT /api/v1/account/password": Asked(body={"password": "seven calm rivers to the sea"}),
    "POST /account/password": Asked(body="password=seven+calm+rivers+to+the+sea", form=True),
    "POST /account/code/confirm": Asked(body="flow=none&code=000000", form=True, mends=("bad_flow",)),
    "POST /account/prove": Asked(body="password=no", form=True, mends=("bad_sign_in",)),
    "POST /account/outside/{purpose}": Asked(path={"purpose": "=link"}, mends=("no_outside",)),
    "POST /desks/{name}/rollback": Asked(body="revision=1", form=True),
    "POST /people/invite": Asked(body="name={fresh}&clearance=public&role=viewer", form=True),
    "POST /people/{name}/role": Asked(body="role=viewer", form=True),
    "POST /people/{name}/site-role": Asked(body="role=", form=True),
    "POST /sign-in/passkey": Asked(body={"flow": "none", "credential": {}}, mends=("bad_flow",)),
    "POST /api/v1/account/passkeys/begin": Asked(mends=("passkey_needs_name",)),
    "POST /api/v1/account/prove/passkey/begin": Asked(mends=("passkey_needs_name",)),
    "POST /sign-in/passkey/begin": Asked(mends=("passkey_needs_name",)),
    "GET /sign-in/outside": Asked(mends=("no_outside",)),
    "GET /sign-in/outside/back": Asked(mends=("bad_outside",)),
    "POST /sign-in": Asked(body="link={link}", form=True),
    "POST /sign-out": Asked(own_token=True),
    "router GET /v1/models/NAME": Asked(path={"NAME": "{project}/{desk}"}),
    "router POST /v1/answers": Asked(body={"model": "{project}/{desk}", "question": "When is the office open?"}),
    "router POST /v1/classify": Asked(body={"model": "{project}/{routing}", "input": "A pipe"}),
    "router POST /v1/completions": Asked(body={"model": "{project}/{routing}", "prompt": "A pipe"}),
    "router POST /v1/chat/completions": Asked(
        body={"model": "{project}/{routing}", "messages": [{"role": "user", "content": "A pipe"}]}
    ),
    "router POST /v1/embeddings": Asked(body={"model": "{project}/{routing}", "input": "A pipe"}),
    "router GET /desk/NAME": Asked(path={"NAME": "{project}/{desk}"}),
}
"""Route -> example, for routes that need more than the names in their path. `docs/notes/web.md` says how to add one."""
