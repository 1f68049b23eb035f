"""The test registry's side of the wire: one method per route of the distribution spec."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import socket
import struct
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

from loader.bundle.digest import digest_of, is_digest
from loader.bundle.errors import FormatError
from loader.bundle.ocimanifest import OCI_INDEX
from tests.support.loopback import QuietHandler
from tests.support.registryrules import Fault, Seen

CHUNK = 2**20
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/?(?P<rest>[^/]*)")


class Handler(QuietHandler):
    def _any(self) -> None:
        self.registry = self.server.registry
        self.rules = self.registry.rules
        self.store = self.registry.store
        self.left = int(self.headers.get("Content-Length") or 0)
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query))
        with self.registry.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.registry.requests.append(Seen(self.command, self.path, headers, time.monotonic()))
            self.fault = self._take_fault()
            count = len(self.registry.requests)
            early = self._is_early()
        self.registry.on_request(count)
        if early:
            self._discard()
            self._reply(self.rules.crowded, b"too many requests", {})
        elif not self._spoiled():
            self._route(parts.path)
        if self.left:
            self._discard()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 - the base class looks for these

    # faults

    def _is_early(self) -> bool:
        now = time.monotonic()
        if now < self.registry.let_in + self.rules.spacing:
            return True
        self.registry.let_in = now
        return False

    def _take_fault(self) -> Fault | None:
        fault: Fault
        for fault in self.registry.faults:
            part = self.headers.get("Content-Range", "")
            matches = re.search(fault.path, self.path) and re.search(fault.range, part)
            if fault.times > 0 and fault.method == self.command and matches:
                fault.times -= 1
                return fault
        return None

    def _spoiled(self) -> bool:
        fault = self.fault
        if fault is None or fault.kind not in {"status", "reset", "hang", "html", "junk"}:
            return False
        if fault.kind == "hang":
            self.registry.stopping.wait(fault.seconds)
        if fault.kind in {"reset", "hang"}:
            self._reset()
        elif fault.kind == "junk":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
        elif fault.kind == "html":
            self._discard()
            self._reply(200, b"<html><body><h1>Please log in</h1></body></html>", {"Content-Type": "text/html"})
        else:
            self._discard()
            self._reply(fault.status, fault.body, fault.headers)
        return True

    def _reset(self) -> None:
        self.left = 0
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    # routing

    def _route(self, path: str) -> None:
        if path == "/token":
            return self._token()
        if path.startswith("/cdn/"):
            return self._send_blob(path.rpartition("/")[2])
        if path.startswith("/uploads-elsewhere/"):
            return self._upload_part(path.rpartition("/")[2])
        if path in {"/v2", "/v2/"}:
            return self._reply(200, b"{}", {"Content-Type": "application/json"}) if self._allowed("", "") else None
        match = _ROUTE.fullmatch(path)
        if match is None:
            return self._error(404, "NAME_UNKNOWN", "no such route")
        name, kind, rest = match["name"], match["kind"], match["rest"]
        action = "pull" if self.command in {"GET", "HEAD"} else "push"
        if not self._allowed(name, action):
            return None
        refusal = self._refusal(name) if action == "push" else None
        if refusal is not None:
            self._discard()
            return self._error(*refusal)
        routes: dict[str, Callable[[str, str], None]] = {
            "manifests": self._manifest,
            "blobs": self._blob,
            "blobs/uploads": self._upload,
            "tags": self._tags,
            "referrers": self._referrers,
        }
        return routes[kind](name, rest)

    def _refusal(self, name: str) -> tuple[int, str, str] | None:
        rules = self.rules
        if rules.read_only:
            return 405, "UNSUPPORTED", "The operation is unsupported."
        project = name.partition("/")[0]
        if rules.projects is not None and project not in rules.projects:
            return 404, "NOT_FOUND", f"project {project} not found"
        if rules.depth and name.count("/") >= rules.depth:
            return 400, "NAME_INVALID", "invalid repository name"
        return None

    def _manifest(self, name: str, reference: str) -> None:
        if self.command == "PUT":
            return self._put_manifest(name, reference)
        if self.command == "DELETE":
            gone = self.store.delete_manifest(name, reference)
            return self._reply(202, b"", {}) if gone else self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if self.command == "HEAD" and not self.rules.head_manifests:
            return self._error(405, "UNSUPPORTED", "")
        found = self.store.manifest(name, reference)
        if found is None:
            return self._error(404, "MANIFEST_UNKNOWN", f"manifest unknown: {reference}")
        data, media_type = found
        headers = {"Content-Type": media_type}
        if self.rules.digest_header:
            lie = self.fault is not None and self.fault.kind == "lie"
            headers["Docker-Content-Digest"] = "sha256:" + "0" * 64 if lie else digest_of(data)
        return self._reply(200, data, headers)

    def _put_manifest(self, name: str, reference: str) -> None:
        data = self._read_body()
        media_type = self.headers.get("Content-Type", "")
        if is_digest(reference) and not self.rules.by_digest:
            return self._error(400, "UNSUPPORTED", "unsupported manifest type")
        if media_type in self.rules.refused_types:
            return self._error(*self.rules.refusal)
        if 0 < self.rules.largest_manifest < len(data):
            return self._error(413, "MANIFEST_SIZE_INVALID", "manifest too large")
        if is_digest(reference) and digest_of(data) != reference:
            return self._error(400, "DIGEST_INVALID", "the body is something else")
        try:
            unknown = None if self.rules.sparse else self.store.unknown(name, data, media_type)
        except FormatError as error:
            return self._error(400, "MANIFEST_INVALID", str(error))
        if unknown:
            return self._error(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {unknown}")
        digest = self.store.put_manifest(name, data, media_type, reference)
        told = "sha256:" + "1" * 64 if self.fault is not None and self.fault.kind == "lie" else digest
        status = 202 if self.rules.accepted else 201
        return self._reply(status, b"", {"Docker-Content-Digest": told, "Location": f"/v2/{name}/manifests/{digest}"})

    def _blob(self, name: str, digest: str) -> None:
        if not self.store.has_blob(name, digest):
            if self.command == "HEAD" and digest in self.rules.ghosts:
                return self._head(200, {"Docker-Content-Digest": digest})
            return self._error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.rules.redirect_blobs_to and self.command == "GET":
            place = f"{self.rules.redirect_blobs_to}/cdn/{digest}?signature=very-secret"
            return self._reply(307, b"", {"Location": place})
        return self._send_blob(digest)

    def _tags(self, name: str, _: str) -> None:
        tags = sorted(tag for repository, tag in self.store.tags if repository == name)
        self._reply(200, json.dumps({"name": name, "tags": tags}).encode(), {"Content-Type": "application/json"})

    def _referrers(self, name: str, subject: str) -> None:
        if not self.rules.referrers:
            # The words of Go's own router: who has no such route knows no error codes for it.
            return self._reply(404, b"404 page not found\n", {"Content-Type": "text/plain"})
        found = self.store.referrers(name, subject)
        start = int(self.query.get("start", 0))
        end = start + self.rules.referrers_page if self.rules.referrers_page else len(found)
        headers = {"Content-Type": OCI_INDEX}
        if end < len(found):
            headers["Link"] = f'</v2/{name}/referrers/{subject}?start={end}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[start:end]}
        return self._reply(200, json.dumps(index).encode(), headers)

    # uploads

    def _upload(self, name: str, session: str) -> None:
        if session:
            return self._upload_part(session)
        if self.command != "POST":
            return self._error(405, "UNSUPPORTED", "")
        mount, origin = self.query.get("mount", ""), self.query.get("from", "")
        if mount and self.rules.mounts and self.store.has_blob(origin, mount):
            self.store.links.add((name, mount))
            return self._reply(201, b"", {"Docker-Content-Digest": mount, "Location": f"/v2/{name}/blobs/{mount}"})
        if mount and self.rules.bad_from_is_an_error and not self.store.has_repository(origin):
            return self._error(400, "NAME_INVALID", f"bad from: {origin}")
        path = self.store.new_upload()
        with self.registry.lock:
            self.registry.uploads[path.name] = path
        if "digest" in self.query:
            return self._take(path, name, self.query["digest"])
        headers = {"Location": self._location(name, path.name), "Range": "0-0"}
        if self.rules.least_piece:
            headers["OCI-Chunk-Min-Length"] = str(self.rules.least_piece)
        return self._reply(202, b"", headers)

    def _upload_part(self, session: str) -> None:
        path = self.registry.uploads.get(session)
        name = self.query.get("name") or self.path.partition("/v2/")[2].partition("/blobs/")[0]
        if path is None:
            return self._error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        if self.command == "DELETE":
            self.registry.uploads.pop(session).unlink()
            return self._reply(204, b"", {})
        if self.command == "GET":
            return self._tell_offset(path, name)
        if self.fault is not None and self.fault.kind in {"cut", "forget"}:
            return self._cut(path, self.fault.after, forget=self.fault.kind == "forget")
        if self.rules.max_body and self.left > self.rules.max_body:
            if self.rules.hangs_up:
                return self._reset()
            self._discard()
            return self._reply(413, b"<html>413 Request Entity Too Large</html>", {"Content-Type": "text/html"})
        if self.command == "PATCH":
            start = path.stat().st_size
            asked = self.headers.get("Content-Range", f"{start}-{start + self.left - 1}")
            if asked != f"{start}-{start + self.left - 1}":
                return self._reply(416, b"", {"Range": f"0-{start - 1}"})
            self._append(path)
            end = path.stat().st_size - 1
            return self._reply(202, b"", {"Location": self._location(name, session), "Range": f"0-{end}"})
        return self._take(path, name, self.query.get("digest", ""))

    def _tell_offset(self, path: Path, name: str) -> None:
        held = max(path.stat().st_size - 1, 0)
        self._reply(204, b"", {"Location": self._location(name, path.name), "Range": f"0-{held}"})

    def _cut(self, path: Path, size: int, *, forget: bool) -> None:
        with path.open("ab") as out:
            out.write(self.rfile.read(min(size, self.left)))
        if forget:
            self.registry.uploads.pop(path.name)
        self._reset()

    def _take(self, path: Path, name: str, digest: str) -> None:
        self._append(path)
        self.registry.uploads.pop(path.name, None)
        if not is_digest(digest) or not self.store.commit(path, name, digest):
            return self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if self.fault is not None and self.fault.kind == "mute":
            return self._reset()
        status = 202 if self.rules.accepted else 201
        return self._reply(status, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})

    def _append(self, path: Path) -> None:
        with path.open("ab") as stream:
            while self.left:
                data = self.rfile.read(min(self.left, CHUNK))
                if not data:
                    raise ConnectionResetError("the client hung up")
                self.left -= len(data)
                stream.write(data)

    def _location(self, name: str, session: str) -> str:
        if self.rules.uploads_to:
            return f"{self.rules.uploads_to}/uploads-elsewhere/{session}?name={name}&state=a%2Fb"
        path = f"/v2/{name}/blobs/uploads/{session}?state=a%2Fb"
        if self.rules.relative_location:
            return path
        return f"{self.rules.location_scheme or self.registry.scheme}://{self.registry.host}{path}"

    # logins

    def _allowed(self, name: str, action: str) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.rules.auth == "none" or (self.rules.auth == "basic" and self._is_login(sent)):
            return True
        if self.rules.auth == "bearer" and sent.startswith("Bearer "):
            until, scopes = self.registry.tokens.get(sent[7:], (0.0, frozenset()))
            if until > time.monotonic() and (not name or f"repository:{name}:{action}" in scopes):
                return True
        self._discard()
        self._error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": self._challenge(name, action)})
        return False

    def _challenge(self, name: str, action: str) -> str:
        if self.rules.auth == "basic":
            return 'Basic realm="test registry"'
        scope = f',scope="repository:{name}:{action}"' if name else ""
        return f'Bearer realm="{self.rules.realm or self.registry.url + "/token"}",service="test"{scope}'

    def _is_login(self, sent: str) -> bool:
        try:
            return base64.b64decode(sent.removeprefix("Basic "), validate=True).decode() == ":".join(self.rules.login)
        except (binascii.Error, UnicodeDecodeError):
            return False

    def _token(self) -> None:
        fields = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        sent = self.headers.get("Authorization", "")
        known = self._is_login(sent)
        if self.command == "POST":
            fields = urllib.parse.parse_qs(self._read_body().decode())
            known = fields.get("refresh_token", [""])[0] == (self.rules.identity_token or None)
        if not known and (sent or self.command == "POST" or not self.rules.anonymous_pull):
            return self._error(401, "UNAUTHORIZED", "incorrect username or password")
        granted = set()
        for scope in " ".join(fields.get("scope", [])).split():
            kind, name, actions = scope.split(":", 2)
            # Quay: without the right to push, a repository that is not there cannot be asked for.
            if self.rules.hide_missing and actions == "pull" and not self.store.has_repository(name):
                continue
            granted |= {f"{kind}:{name}:{one}" for one in actions.split(",") if known or one == "pull"}
        token = secrets.token_hex(12)
        self.registry.tokens[token] = (time.monotonic() + self.rules.token_life, frozenset(granted))
        answer = {"token": token, "expires_in": int(self.rules.token_life)}
        return self._reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    # bodies

    def _send_blob(self, digest: str) -> None:
        size = self.store.path(digest).stat().st_size
        start, end, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not (self.fault and self.fault.kind == "no-range"):
            start, end, status = int(asked[1]), min(int(asked[2] or size) + 1, size), 206
            end = min(end, start + self.fault.after) if self.fault and self.fault.kind == "short" else end
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if self.command == "HEAD":
            lie = self.fault is not None and self.fault.kind == "lie"
            headers["Content-Length"] = str(size + 1 if lie else size)
            return self._head(status, headers)
        return self._stream(digest, start, end, status, headers)

    def _stream(self, digest: str, start: int, end: int, status: int, headers: dict[str, str]) -> None:
        kind = self.fault.kind if self.fault else ""
        length = end - start
        headers["Content-Length"] = str(length + 7 if kind == "length" else length)
        if kind in {"unsized", "endless"}:
            del headers["Content-Length"]
            self.close_connection = True
        self._head(status, headers)
        sent = min(length, self.fault.after if self.fault else 0) if kind == "truncate" else length
        with self.store.open(digest) as stream:
            stream.seek(start)
            while sent:
                data = stream.read(min(sent, CHUNK))
                sent -= len(data)
                self.wfile.write(bytes([data[0] ^ 1]) + data[1:] if kind == "corrupt" else data)
        if kind == "endless":
            self.wfile.write(b"more")
        if kind in {"truncate", "length"}:
            self.close_connection = True

    def _read_body(self) -> bytes:
        data, self.left = self.rfile.read(self.left), 0
        return data

    def _discard(self) -> None:
        while self.left:
            data = self.rfile.read(min(self.left, CHUNK))
            if not data:
                break
            self.left -= len(data)

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._reply(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Make the ``Date`` of every answer."""
        return super().date_time_string((timestamp or time.time()) + self.server.registry.rules.clock)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        if self.fault is None or self.fault.kind not in {"status", "html"}:
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
