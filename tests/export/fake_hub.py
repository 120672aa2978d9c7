"""A local HTTP server that answers like the hub's upload API and keeps what it was sent."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_right_token"


@dataclass
class FakeHub:
    """What the server holds: `files` are the committed contents by path, `stored` the LFS objects by sha256."""

    files: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    lfs_suffixes: tuple[str, ...] = (".safetensors",)
    exists_public: bool = False
    status: int = 0  # when set, every request that carries a token is refused with it
    put_status: int = 200
    url: str = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and JSON (or None) for one request."""
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if method == "PUT" and path.startswith("/put/"):
            return self._put(path.removeprefix("/put/"), body)
        if path == "/org/model.git/info/lfs/objects/batch":
            return 200, self._batch(json.loads(body))
        if path == "/api/models/org/model/preupload/main":
            return 200, self._preupload(json.loads(body))
        if path == "/api/models/org/model/commit/main":
            return 200, self._commit([json.loads(line) for line in body.splitlines()])
        if path == "/api/models/org/model/tree/main":
            return 200, [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.files]
        if path in ("/api/models/org/model", "/api/models/org/model/revision/main"):
            siblings = [{"rfilename": name} for name in self.files]
            return 200, {"id": "org/model", "private": not self.exists_public, "sha": "0" * 40, "siblings": siblings}
        return 404, {"error": f"the fake hub does not know {method} {path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        self.created.append(asked)
        return 409 if self.exists_public else 200, {"url": f"{self.url}/org/model"}

    def _put(self, oid: str, body: bytes) -> tuple[int, Any]:
        if self.put_status != 200:
            return self.put_status, {"error": "refused"}
        assert hashlib.sha256(body).hexdigest() == oid
        self.stored[oid] = body
        return 200, None

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        objects = [
            {"oid": item["oid"], "size": item["size"], "actions": {"upload": {"href": f"{self.url}/put/{item['oid']}"}}}
            for item in asked["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def _preupload(self, asked: dict[str, Any]) -> dict[str, Any]:
        modes = {
            item["path"]: "lfs" if item["path"].endswith(self.lfs_suffixes) else "regular" for item in asked["files"]
        }
        return {"files": [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in modes]}

    def _commit(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        return {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.url}/org/model/commit/{'1' * 40}"}


@contextmanager
def serve(hub: FakeHub) -> Iterator[str]:
    """Serve `hub` on a free local port and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            path, body = urlsplit(self.path).path, self._body()
            hub.requests.append(f"{self.command} {path}")
            to_storage = path.startswith("/put/")
            if not to_storage and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, reply = 401, {"error": "Invalid username or password."}
            elif hub.status and not to_storage:
                status, reply = hub.status, {"error": "refused"}
            else:
                status, reply = hub.answer(self.command, path, body)
            payload = b"" if reply is None else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = _handle

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
