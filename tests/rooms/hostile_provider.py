"""A provider of outside accounts whose every answer a test can bend."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey


class Provider:
    """Serves discovery, keys and tokens; `claims`, `headers` and the rest are what the next answer is made of."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.server.daemon_threads = False  # closing waits for them
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.now, self.nonce, self.asked = now, "", {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "first"}
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.discovery: dict[str, Any] = {}
        self.closed = False
        self.slow: Callable[[], None] | None = None
        self.published: list[dict[str, Any]] = [self.key.as_dict(private=False)]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        if not self.closed:
            self.server.shutdown()
            self.server.server_close()
        self.closed = True

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode(self.header, claims, self.key, algorithms=["RS256"])

    def signed_by_another(self, claims: dict[str, Any]) -> str:
        return jwt.encode(self.header, claims, RSAKey.generate_key(2048, {"kid": "first"}), algorithms=["RS256"])

    def unsigned(self, claims: dict[str, Any]) -> str:
        return ".".join([part({"alg": "none"}), part(claims), ""])

    def signed_with_the_public_key(self, claims: dict[str, Any]) -> str:
        body = ".".join([part({"alg": "HS256", "kid": "first"}), part(claims)])
        signature = hmac.digest(self.key.as_pem(private=False), body.encode(), "sha256")
        return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    def token(self) -> str:
        now = int(self.now())
        claims = {
            "iss": self.issuer,
            "aud": "baray",
            "sub": "person-7",
            "nonce": self.nonce,
            "iat": now,
            "exp": now + 300,
        }
        return self.sign({k: v for k, v in (claims | {"auth_time": now} | self.claims).items() if v is not None})

    def answer(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            known = {name: f"{self.issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
            return {"issuer": self.issuer} | known | self.discovery
        if path == "/jwks_uri":
            return {"keys": self.published}
        return {"id_token": self.token(), "access_token": "x", "token_type": "Bearer"}


def handler_of(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if urlsplit(self.path).path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", f"{provider.issuer}/jwks_uri")
                self.end_headers()
                return
            data = json.dumps(provider.answer(urlsplit(self.path).path)).encode()
            self.send_response(200)
            self.end_headers()
            if provider.slow is None:
                self.wfile.write(data)
                return
            try:
                for byte in data:
                    provider.slow()
                    self.wfile.write(bytes([byte]))
            except OSError:
                self.close_connection = True  # the caller has had enough

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            provider.asked = {name: values[0] for name, values in parse_qs(body).items()}
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def key_set(*keys: RSAKey) -> list[dict[str, Any]]:
    """Public parts, as a provider publishes them."""
    return KeySet(list(keys)).as_dict(private=False)["keys"]
