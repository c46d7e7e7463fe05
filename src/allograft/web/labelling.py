"""Labelling: a local page where a person labels images with the keyboard; nothing leaves this machine.

A server of the standard library on 127.0.0.1; every address holds a random token, and requests that name
another host are refused. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from allograft.core.errors import AllograftError
from allograft.data.case import ImageRef
from allograft.data.io.image import Image, read_image
from allograft.data.picture import middle, plane, png, slices
from allograft.web.journal import Journal, Row

__all__ = ["LabelServer", "keys_of"]

LARGEST_ANSWER = 10_000
"""Bytes of a request."""
SPARE = "qwertzasdfgyxcvbnmiop"
"""Letters for classes beyond the ninth whose initials are taken; u, h, j, k, l stay free."""
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'"
)


def keys_of(classes: Sequence[str]) -> list[list[str]]:
    """Return the keys of each class: its number up to 9, and its initial where no other class has it.

    >>> keys_of(["grass", "gravel", "sand"])
    [['1'], ['2'], ['3', 's']]
    """
    initials = [name[:1].lower() for name in classes]
    found = []
    taken = {i for i in initials if initials.count(i) == 1 and i.isascii() and i.isalpha() and i not in "un"}
    spare = iter([letter for letter in SPARE if letter not in taken])
    for number, initial in enumerate(initials, start=1):
        own = [str(number)] if number <= 9 else []
        own += [initial] if initial in taken else []
        found.append(own or [letter for letter in [next(spare, "")] if letter])
    return found


class LabelServer(ThreadingHTTPServer):
    """Serves the questions of a journal.

    Args:
        journal: takes the answers.
        port: 0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, journal: Journal, *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.journal, self.token = journal, secrets.token_urlsafe(24)
        self.cases = list(journal.questions)
        self.image = lru_cache(maxsize=6)(self._image)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def state(self) -> dict[str, Any]:
        """Return what the page shows; images have numbers, not names."""
        labels = self.journal.labels
        return {
            "classes": list(self.journal.classes),
            "keys": keys_of(self.journal.classes),
            "labels": [labels[case] for case in self.cases],
        }

    def about(self, number: int) -> dict[str, int]:
        """Return how many slices an image has, and which comes first."""
        found = self.image(number)
        return {"slices": slices(found), "middle": middle(found)}

    def answer(self, data: Any) -> None:
        """Keep one answer.

        Raises:
            ValueError: the request is none.
            ConfigError: the label is no class.
        """
        number, label = (data.get("number"), data.get("label")) if isinstance(data, dict) else (None, None)
        if not isinstance(number, int) or not isinstance(label, str) or not 0 <= number < len(self.cases):
            msg = "expected the number of an image and a label"
            raise ValueError(msg)
        self.journal.set(self.cases[number], label)

    def _image(self, number: int) -> Image:
        row: Row = self.journal.questions[self.cases[number]]
        place = row.get("row", "")
        return read_image(ImageRef(Path(row["path"]), row.get("key", ""), int(place) if place else None))


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: LabelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = self._inside()
        if parts is None:
            return
        try:
            self._get(parts)
        except AllograftError as error:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, json.dumps({"error": str(error)}).encode(), "application/json")
        except (ValueError, IndexError):
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def _get(self, parts: list[str]) -> None:
        match parts:
            case [""]:
                self._asset("html")
            case [("label.css" | "label.js") as name]:
                self._asset(name.rpartition(".")[2])
            case ["state"]:
                self._send(HTTPStatus.OK, json.dumps(self.server.state()).encode(), "application/json")
            case ["about", number]:
                self._send(HTTPStatus.OK, json.dumps(self.server.about(int(number))).encode(), "application/json")
            case ["image", number, place]:
                pixels = plane(self.server.image(int(number)), int(place))
                self._send(HTTPStatus.OK, png(pixels), "image/png")
            case _:
                self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def do_POST(self) -> None:
        parts = self._inside()
        if parts is None:
            return
        length = int(self.headers.get("Content-Length") or 0)
        if parts != ["label"] or length > LARGEST_ANSWER or self.headers.get_content_type() != "application/json":
            self.close_connection = True
            self._send(HTTPStatus.BAD_REQUEST, b"", "text/plain")
            return
        try:
            self.server.answer(json.loads(self.rfile.read(length)))
        except (ValueError, AllograftError) as error:
            self._send(HTTPStatus.BAD_REQUEST, json.dumps({"error": str(error)}).encode(), "application/json")
        else:
            self._send(HTTPStatus.OK, b"{}", "application/json")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library calls it so
        """Say nothing: addresses hold the token."""

    def _inside(self) -> list[str] | None:
        """Return the path behind the token; refuse other hosts (a page elsewhere) and other tokens."""
        port = self.server.server_address[1]
        _, token, *parts = self.path.split("?")[0].split("/")
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if known and parts and self.headers.get("Host") in {f"127.0.0.1:{port}", f"localhost:{port}"}:
            return parts
        self.close_connection = True
        self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")
        return None

    def _asset(self, kind: str) -> None:
        text = Path(str(files("allograft") / "web" / "page" / f"label.{kind}")).read_bytes()
        self._send(HTTPStatus.OK, text, TYPES[kind])

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)
