"""A token server for tests (distribution, "Token Authentication Specification"): a login becomes a signed JWT."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.parse
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from tests.support.certificates import PrivateAuthority
from tests.support.loopback import LoopbackServer, QuietHandler

ISSUER, SERVICE = "test-tokens", "test-registry"


class TokenServer(LoopbackServer):
    """Start with ``with``; ``bundle`` is the certificate file that registries check its tokens with."""

    def __init__(self, authority: PrivateAuthority, login: tuple[str, str], *, tls: ssl.SSLContext) -> None:
        pair = authority.pair("tokens")
        self.bundle = authority.certificate
        self.login = login
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._chain = [_der(pair.certificate)]
        super().__init__(_Handler, tls=tls)
        self.realm = f"https://{self.host}/token"

    def issue(self, user: str, scopes: list[str]) -> str:
        """A JWT (RFC 7519) for ``user``, signed with ES256, its certificate in ``x5c``."""
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims: dict[str, object] = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "access": access,
            "jti": str(time.monotonic_ns()),
        }
        claims |= {"iat": now, "nbf": now - 10, "exp": now + 300}
        head = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        signed = f"{_packed(head)}.{_packed(claims)}"
        first, second = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"

    def gate(self, method: str, path: str, sent: str) -> str:
        """Let in who has a token for what is asked; else say where one is to be had."""
        name = path.partition("/v2/")[2].partition("/blobs/")[0].partition("/manifests/")[0]
        action = "pull" if method in {"GET", "HEAD"} else "push"
        if sent.startswith("Bearer ") and self._allows(sent[7:], name, action):
            return ""
        scope = f',scope="repository:{name}:{action}"' if name else ""
        return f'Bearer realm="{self.realm}",service="{SERVICE}"{scope}'

    def _allows(self, token: str, name: str, action: str) -> bool:
        signed, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        self._key.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        return not name or any(one["name"] == name and action in one["actions"] for one in claims["access"])


class _Handler(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 - the base class looks for it
        tokens: TokenServer = self.server.owner
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        wanted = "Basic " + base64.b64encode(":".join(tokens.login).encode()).decode()
        known = self.headers.get("Authorization") == wanted and asked.get("service") == [SERVICE]
        answer: dict[str, Any] = {"errors": [{"code": "UNAUTHORIZED", "message": "wrong login"}]}
        if known:
            answer = {"token": tokens.issue(tokens.login[0], asked.get("scope", [])), "expires_in": 300}
        body = json.dumps(answer).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _der(certificate: Path) -> str:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return base64.b64encode(loaded.public_bytes(serialization.Encoding.DER)).decode()


def _packed(value: object) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
