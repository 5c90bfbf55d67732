"""The router over HTTP, with real processes and sockets."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import time
from contextlib import closing
from urllib.parse import quote

import numpy as np
import pytest

from baray.access import PUBLIC
from baray.serve.router.incoming import BODY_SECONDS
from baray.train.classifier.package import write_weights
from serve_house import DOCUMENTS, new_house, running_router, wait_until

CONTROL = "control-secret"
FEE_KM = "ថ្លៃសេវាធ្វើសំបុត្រកំណើត"
FEE_EN = "What is the fee for the transfer of a land title?"
INSIDE = "Where are complaints against officers kept?"
OUTSIDE = "Who painted the ceiling of the cathedral?"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    made = new_house(tmp_path_factory.mktemp("router") / "home")
    index = made.add_index()
    made.desk(index, title="Counter · ច្រកចេញចូលតែមួយ", examples=(FEE_KM,), office="Front desk")
    public_only = tuple(document for document in DOCUMENTS if document.label == "public")
    made.desk(made.add_index("open", public_only), name="open", office="Front desk")
    made.desk(index, name="staff", audience=("project",))
    made.desk(index, name="mine", audience=("officer",))
    made.model(made.publish("model", "router", small_model(made.path), PUBLIC, "sha256:" + "1" * 64))
    yield made
    made.close()


def small_model(home):
    """A model of two classes that knows the letters "a" and "b"."""
    folder = home / "made" / "model"
    folder.mkdir(parents=True)
    known = sorted({"a": 0xBE43, "b": 0xEFF9}.items(), key=lambda pair: pair[1])
    rows = {"a": (4.0, -4.0), "b": (-4.0, 4.0)}
    digest = write_weights(
        folder / "model.safetensors",
        {
            "buckets": np.array([bucket for _, bucket in known], dtype=np.int32),
            "scale": np.ones(2, dtype=np.float32),
            "weights": np.array([rows[gram] for gram, _ in known], dtype=np.float32),
            "intercept": np.zeros(2, dtype=np.float32),
        },
    )
    features = {"shortest": 1, "longest": 1, "bits": 16, "hash": "crc32-utf8-low-bits"}
    weights = {"file": "model.safetensors", "digest": digest}
    config = {"format": "baray-linear-text/1", "classes": ["alpha", "beta"], "features": features, "weights": weights}
    (folder / "model.json").write_text(json.dumps(config | {"review_below": 0.9}))
    return folder


@pytest.fixture(scope="module")
def officer(house):
    return house.token(house.officer)


@pytest.fixture(scope="module")
def operator(house):
    return house.token(house.operator)


@pytest.fixture(scope="module")
def router(house, officer, operator):
    house.push(control=hashlib.sha256(CONTROL.encode()).hexdigest())
    with running_router(house.path) as running:
        yield running


def test_health_is_one_word_and_more_for_control(router, officer, operator):
    assert router.json("GET", "/healthz") == (200, {"status": "ok"})
    for token in (officer, operator):
        assert router.json("GET", "/healthz", token=token) == (200, {"status": "ok"})
    value = router.json("GET", "/healthz", token=CONTROL)[1]
    assert (value["services"], value["problems"]) == (5, {})


def test_a_question_is_answered_with_its_citation(router):
    found = router.question(FEE_EN)
    assert (found["outcome"], found["as"], found["language"]) == ("answered", "public", "en")
    (citation,) = found["citations"]
    start, end = citation["span"]
    assert DOCUMENTS[1].text[start:end] == citation["text"] == found["answer"]
    assert citation["document"] == "land/transfer.pdf" == found["found"][0]["document"]
    assert re.fullmatch(r"answer:a_[0-9a-z]{26}", found["id"])


def test_khmer_is_answered_in_khmer(router):
    found = router.question(FEE_KM)
    assert (found["outcome"], found["language"]) == ("answered", "km")
    assert "៤០០០" in found["answer"]


def test_an_expired_document_is_not_cited(router):
    found = router.question("What is the daily fee for a market stall?")
    assert (found["outcome"], found["answer"], found["citations"]) == ("expired", "", [])
    assert "fees/market.html" not in {one["document"] for one in found["found"]}


def test_an_internal_document_is_out_of_scope_for_the_public_and_answered_for_the_officer(router, officer):
    with_it, without_it = router.question(INSIDE), router.question(INSIDE, model="open")
    assert with_it["outcome"] == "out-of-scope" == router.question(OUTSIDE)["outcome"]
    own = {"id", "service", "index"}
    assert {name: value for name, value in with_it.items() if name not in own} == {
        name: value for name, value in without_it.items() if name not in own
    }
    seen = router.question(INSIDE, token=officer)
    assert (seen["outcome"], seen["label"]) == ("answered", "internal")


def test_anyone_may_ask_as_the_public_and_only_owners_as_others(router, officer, operator):
    assert router.question(INSIDE, token=officer, **{"as": "public"})["outcome"] == "out-of-scope"
    assert router.question(INSIDE, token=operator, **{"as": "officer"})["as"] == "officer"
    body = {"model": "counter", "question": INSIDE, "as": "operator"}
    for token in ("", officer):
        status, value = router.json("POST", "/v1/answers", body, token=token)
        assert (status, value["code"]) == (403, "may_not_impersonate")


def test_control_asks_on_an_actors_behalf(router, house):
    found = router.question(INSIDE, token=CONTROL, **{"as": "officer"})
    assert (found["outcome"], found["as"]) == ("answered", "officer")
    assert router.question(INSIDE, token=CONTROL)["outcome"] == "out-of-scope"
    name = found["id"].removeprefix("answer:")

    def stored():
        house.ingest()
        return {row["id"]: row["actor_id"] for row in house.answers()}.get(name)

    assert wait_until(stored, "the receipt") == house.officer


@pytest.mark.parametrize("name", ["staff", "mine", "nothing", "main/staff", "other/counter", "counter@v1", "letters"])
def test_hidden_and_missing_services_look_the_same(router, name):
    status, value = router.json("POST", "/v1/answers", {"model": name, "question": FEE_EN})
    assert (status, value["code"]) == (404, "not_found")
    assert value["detail"] == f"There is no desk '{name}'."
    page_status, headers, page = router.ask("GET", f"/desk/{quote(name)}")
    expected = router.ask("GET", "/desk/really-nothing")
    assert (page_status, page) == (404, expected[2])
    assert set(headers) == set(expected[1])


def test_the_audience_may_ask(router, officer, operator):
    assert router.question(FEE_EN, model="staff", token=officer)["outcome"] == "answered"
    assert router.question(FEE_EN, model="mine", token=officer)["outcome"] == "answered"
    assert router.question(FEE_EN, model="main/mine", token=operator)["outcome"] == "answered"


def test_the_list_of_models_is_the_askers(router, officer):
    def names(token=""):
        return [row["id"] for row in router.json("GET", "/v1/models", token=token)[1]["data"]]

    assert names() == ["counter", "letters", "open"]
    assert names(officer) == ["counter", "letters", "mine", "open", "staff"]
    assert router.json("GET", "/v1/models/counter")[1]["object"] == "model"
    status, value = router.json("GET", "/v1/models/staff")
    assert (status, value["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer ", "Basic eDp5", "bry_pat_x"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/answers"), ("GET", "/v1/models"), ("POST", "/v1/classify")])
def test_a_bad_token_is_401(router, header, method, path):
    status, headers, body = router.ask(
        method, path, {} if method == "POST" else None, headers={"Authorization": header}
    )
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"
    assert json.loads(body).get("code", json.loads(body).get("error", {}).get("code")) == "bad_token"


def test_letters_are_classified(router):
    status, value = router.json("POST", "/v1/classify", {"model": "letters", "input": ["aaa", "bbb", "ab"]})
    assert status == 200
    assert [row["label"] for row in value["data"]][:2] == ["alpha", "beta"]
    assert [row["review"] for row in value["data"]] == [False, False, True]
    assert sum(score["score"] for score in value["data"][0]["scores"]) == pytest.approx(1.0, abs=1e-5)
    one = router.json("POST", "/v1/classify", {"model": "letters", "input": "aaa"})[1]
    assert one["data"] == value["data"][:1]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"model": NaN}', b"[" * 100_000, b"\xff", {}, {"model": "counter"},
        {"model": "counter", "question": ""}, {"model": "counter", "question": 3}, {"model": ["counter"], "question": "x"},
        {"model": "counter", "question": "x" * 2001}, {"model": "counter", "question": "a\x00b"},
        {"model": "counter", "question": "x", "as": 3}, {"model": "counter", "question": "x", "language": "fr"},
        b'{"model": "counter", "question": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_bad_body_is_a_problem_with_its_fix(router, body):
    status, headers, content = router.ask("POST", "/v1/answers", body)
    value = json.loads(content)
    assert (status, value["status"]) == (400, 400)
    assert headers["content-type"] == "application/problem+json"
    assert value["fix"]
    assert value["code"] in {"bad_json", "bad_request"}


@pytest.mark.parametrize("given", [None, [], [""], ["x"] * 65, ["x" * 50_001], [3], {"a": 1}, ["x" * 49_999] * 5])
def test_bad_input_to_classify_is_refused(router, given):
    status, value = router.json("POST", "/v1/classify", {"model": "letters", "input": given})
    assert (status, value["code"]) == (400, "bad_request")


def test_a_large_body_is_413_declared_or_not(router):
    for over in (2, 3 << 20):
        status, _, content = router.ask("POST", "/v1/answers", b"x" * ((1 << 20) + over))
        assert (status, json.loads(content)["code"]) == (413, "too_large")
    with socket.create_connection(("127.0.0.1", router.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/answers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        received = b""
        try:
            for _ in range(40):
                connection.sendall(chunk)
            received = connection.recv(100)
        except OSError:
            received = received or b"HTTP/1.1 413"  # it hung up while we were still sending, as it may
    assert received.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/answers", 405, "wrong_method"),
        ("DELETE", "/v1/classify", 405, "wrong_method"),
        ("POST", "/healthz", 405, "wrong_method"),
        ("POST", "/desk/counter", 405, "wrong_method"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/desk/", 404, "not_found"),
        ("GET", "/../etc/passwd", 404, "not_found"),
        ("GET", "/healthz?" + "x" * 9000, 414, "bad_query"),
    ],
)
def test_wrong_methods_and_paths(router, method, path, status, code):
    found, value = router.json(method, path)
    assert (found, value["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/chat/completions", 400), ("/v1/completions", 400), ("/v1/embeddings", 400), ("/v1/x", 404)],
)
def test_routes_that_openai_defines_err_in_its_shape(router, path, status):
    found, value = router.json("POST", path, {})
    assert (found, value["error"]["type"]) == (status, "invalid_request_error")


@pytest.mark.parametrize("path", ["/healthz", "/desk/counter", "/v1/models", "/robots.txt", "/desk/nothing"])
def test_head_is_get_without_its_body(router, path):
    got, head = router.ask("GET", path), router.ask("HEAD", path)
    assert head[2] == b""
    assert {**got[1], "date": ""} == {**head[1], "date": ""}
    assert got[0] == head[0]


def page_of(router, query=""):
    status, headers, content = router.ask("GET", "/desk/counter" + query)
    assert status == 200
    return headers, content.decode()


def test_the_page_needs_no_script_and_nothing_from_elsewhere(router):
    headers, page = page_of(router, f"?q={quote(FEE_EN)}&lang=en")
    assert headers["cache-control"] == "no-store"
    assert "noindex" in headers["x-robots-tag"]
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "<script" not in page
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", page)
    assert "set-cookie" not in headers
    assert len(page.encode()) < 100_000


def test_the_page_shows_answer_source_office_and_validity(router):
    _, page = page_of(router, f"?q={quote(FEE_KM)}&lang=km")
    plain = page.replace("\u200b", "")
    for part in (
        "ចម្លើយពីឯកសារ",
        "៤០០០ រៀល",
        "civil/birth.docx",
        "Civil registry",
        "ថ្ងៃទី៣១ ខែធ្នូ ឆ្នាំ២០៩៩",
        '<html lang="km">',
    ):
        assert part in plain
    assert "<mark>" in page
    assert "\u200b" in page
    _, english = page_of(router, f"?q={quote(FEE_KM)}&lang=en")
    assert "31 December 2099" in english
    assert '<html lang="en">' in english


def test_a_document_that_is_cited_twice_is_shown_once(router):
    question = "What must I bring for the transfer of a land title, identity cards, and what is the fee?"
    assert len(router.question(question)["citations"]) >= 2
    _, page = page_of(router, f"?q={quote(question)}&lang=en")
    assert page.count("Source document") == 1
    assert page.count("<mark>") >= 2


def test_the_page_refuses_honestly_and_refers(router):
    _, page = page_of(router, f"?q={quote(INSIDE)}&lang=en")
    assert "Not in the documents" in page
    assert "Front desk" in page
    assert "internal/complaints" not in page
    assert "red cabinet" not in page


def test_the_page_escapes_what_was_typed(router):
    _, page = page_of(router, "?q=" + quote('"><script>alert(1)</script>'))
    assert "<script" not in page
    assert "&lt;script&gt;" in page.replace("\u200b", "")


def test_the_first_page_is_khmer_with_its_labels_and_a_way_to_english(router):
    _, page = page_of(router)
    assert '<html lang="km">' in page
    assert '<label for="q">' in page
    assert '<input id="q" name="q"' in page
    assert 'href="?lang=en"' in page
    assert quote(FEE_KM) in page
    assert "This is a sample" not in page_of(router, "?lang=en")[1]
    assert page_of(router, "?lang=fr")[1] == page


def test_a_question_is_kept_without_telephone_numbers_and_a_letter_not_at_all(router, house):
    asked = router.question("Call me on 012 345 678 about the fee for the transfer of a land title")
    letter = router.json("POST", "/v1/classify", {"model": "letters", "input": "aaa secret letter"})[1]
    wanted = {found["id"].removeprefix("answer:") for found in (asked, letter)}

    def rows():
        house.ingest()
        found = [row for row in house.answers() if row["id"] in wanted]
        return found if len(found) == len(wanted) else None

    kept = {row["outcome"]: row for row in wait_until(rows, "both receipts")}
    assert "012" not in kept["answered"]["question"]
    assert "[PHONE]" in kept["answered"]["question"]
    assert (kept["classified"]["question"], kept["classified"]["answer"]) == ("", "alpha")


def test_a_slow_body_does_not_hold_up_others(router):
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as slow:
        slow.sendall(b"POST /v1/answers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        started = time.monotonic()
        assert router.question(FEE_EN)["outcome"] == "answered"
        assert time.monotonic() - started < BODY_SECONDS / 2


def test_a_head_without_end_is_cut_off(router):
    with socket.create_connection(("127.0.0.1", router.port), timeout=10) as connection:
        head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + (b"X-More: " + b"x" * 1000 + b"\r\n") * 10_000
        with pytest.raises(ConnectionError):
            connection.sendall(head)
    assert router.question(FEE_EN)["outcome"] == "answered"


def test_several_requests_on_one_connection(router):
    with closing(http.client.HTTPConnection("127.0.0.1", router.port, timeout=10)) as connection:
        for _ in range(3):
            connection.request("POST", "/v1/answers", body=json.dumps({"model": "counter", "question": FEE_EN}))
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["outcome"]) == (200, "answered")
