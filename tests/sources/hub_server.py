"""As much of the Hugging Face hub as huggingface_hub needs to open and download a model, on this machine.

Written after https://huggingface.co/docs/hub/api and what the client asks for.
"""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class Model:
    """A model: its commits, newest last, each with its files; its branches; who may see it; what the hub answers."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False
    status: int = 200
    said: str = "Something is wrong."


class Hub(ThreadingHTTPServer):
    """The server; `requests` counts what was asked for, as `METHOD path`, parts of files as `PART path`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, Model] = {}
        self.requests: Counter[str] = Counter()
        self.sends_parts = True
        self.excess = 0  # bytes that each part has more than was asked for
        self.tells_commits = True
        self.tells_sizes = True
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, model: str, files: dict[str, bytes], branch: str = "main", **options: object) -> str:
        """Add a commit; return its name."""
        found = self.models.setdefault(model, Model(**options))  # type: ignore[arg-type]
        commit = hashlib.sha1(repr((model, len(found.commits), sorted(files))).encode()).hexdigest()
        found.commits[commit] = files
        found.branches[branch] = commit
        return commit

    def asked(self, method: str) -> set[str]:
        """Return the names of files that were asked for by a method."""
        return {key.rpartition("/")[2] for key in self.requests if key.startswith(f"{method} ") and "/resolve/" in key}


@contextmanager
def running_hub(patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a server that huggingface_hub takes for the hub."""
    from huggingface_hub import close_session, constants

    server = Hub()
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "ENDPOINT", server.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    try:
        yield server
    finally:
        close_session()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, *, has_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        method = "PART" if self.headers.get("Range") else self.command
        with self.server.lock:
            self.server.requests[f"{method} {path}"] += 1
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        model = self.server.models.get(found[1]) if found else None
        if found is None or model is None:
            self._fail(401, "RepoNotFound", "Invalid username or password.", has_body)
        elif model.status != 200:
            self._fail(model.status, None, model.said, has_body)
        elif model.token and self.headers.get("Authorization") != f"Bearer {model.token}":
            if model.gated:
                self._fail(401, "GatedRepo", "Access to this model is restricted.", has_body)
            else:
                self._fail(401, "RepoNotFound", "Repository not found", has_body)
        elif (commit := model.branches.get(found[2] or "main", found[2])) not in model.commits:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {found[2]}", has_body)
        elif api:
            described = _described(found[1], commit, model.commits[commit])
            self._send(200, json.dumps(self._told(described)).encode(), {}, has_body)
        elif file and file[3] not in model.commits[commit]:
            self._fail(404, "EntryNotFound", "Entry not found", has_body, {"X-Repo-Commit": commit})
        elif file:
            self._file(model.commits[commit][file[3]], commit, has_body)

    def _told(self, described: dict[str, Any]) -> dict[str, Any]:
        """Leave out what this server does not tell."""
        siblings = [
            {key: value for key, value in each.items() if key != "size" or self.server.tells_sizes}
            for each in described["siblings"]
        ]
        told = {**described, "siblings": siblings}
        return told if self.server.tells_commits else {key: told[key] for key in told if key != "sha"}

    def _file(self, data: bytes, commit: str, has_body: bool) -> None:
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if asked and self.server.sends_parts:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, len(data)) + self.server.excess
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
            self._send(206, (data + bytes(self.server.excess))[begin:end], headers, has_body)
        else:
            self._send(200, data, headers, has_body)

    def _fail(
        self, status: int, code: str | None, text: str, has_body: bool, more: dict[str, str] | None = None
    ) -> None:
        headers = {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {}) | (more or {})
        self._send(status, json.dumps({"error": text}).encode(), headers, has_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], has_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if has_body:
            self.wfile.write(body)


def _described(model: str, commit: str, files: dict[str, bytes]) -> dict[str, Any]:
    siblings = [
        {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()} for name, data in files.items()
    ]
    return {
        "_id": "0",
        "id": model,
        "modelId": model,
        "sha": commit,
        "siblings": siblings,
        "tags": [],
        "private": False,
    }
