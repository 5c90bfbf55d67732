"""The process of a trusted handler: what it says where a library is missing."""

from __future__ import annotations

import json

from baray.runs.attempt import EXIT_FAILED, EXIT_REFUSED, run_handler


def attempt(folder, handler):
    """Run a handler by name; its exit code and result.json."""
    folder.mkdir()
    spec = {"handler": handler, "resources": {"cpus": 1, "memory_bytes": 2**30}}
    facts = {"blobs": str(folder / "blobs"), "inputs": [], "spec": spec, "run_id": "r_test"}
    (folder / "attempt.json").write_text(json.dumps(facts))
    code = run_handler(folder)
    return code, json.loads((folder / "result.json").read_text())


def test_a_library_that_is_missing_is_named_with_its_fix(tmp_path, monkeypatch):
    (tmp_path / "lacking_handler.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, result = attempt(tmp_path / "a", "lacking_handler:run")
    assert code == EXIT_REFUSED
    assert result["error"]["code"] == "not_installed"
    assert "no_such_library" in result["error"]["message"]
    assert "scripts/setup lm" in result["error"]["fix"]
    code, result = attempt(tmp_path / "b", "baray.no_such_room:run")
    assert code == EXIT_FAILED, "a module of ours that is missing is our fault"
