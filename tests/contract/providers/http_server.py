"""A small HTTP server for tests: answers as a provider would, goes wrong where a test says so, and remembers who asked."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What came in, and when; `path` is without its query, header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes out, after `delay` seconds.

    The last `cut` bytes of the body are promised and never sent; a `dropped` connection is closed without an answer.
    """

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    delay: float = 0.0
    dropped: bool = False

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @classmethod
    def of(cls, content: object, status: int = 200, **headers: str) -> "Answer":
        """An answer of JSON; `retry_after="2"` becomes the header Retry-After."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(content).encode(), headers=named)


DROPPED = Answer(dropped=True)
RUBBISH = Answer(body=b"{nope")
PAGE = Answer(body=b"<html><body>Please log in</body></html>", media_type="text/html")


class HttpServer:
    """Listens while the context lasts. `respond` answers what no fault was set for."""

    def __init__(self, respond: Callable[[Request], Answer]) -> None:
        self._respond = respond
        self._faults: dict[tuple[str, str], deque[Answer]] = {}
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fault(self, method: str, prefix: str, *answers: Answer) -> None:
        """Give these answers, one each, to the next requests whose path begins with `prefix`."""
        self._faults.setdefault((method, prefix), deque()).extend(answers)

    def count(self, method: str, prefix: str = "/") -> int:
        """How many requests came whose path begins with `prefix`."""
        return sum(one.method == method and one.path.startswith(prefix) for one in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            for (method, prefix), answers in self._faults.items():
                if answers and request.method == method and request.path.startswith(prefix):
                    return answers.popleft()
            return self._respond(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                self._send(answer(Request(str(self.command), parts.path, query, headers, body)))

            def _send(self, given: Answer) -> None:
                time.sleep(given.delay)
                if given.dropped:
                    return
                self.send_response(given.status)
                self.send_header("Content-Type", given.media_type)
                self.send_header("Content-Length", str(len(given.body)))
                for name, value in given.headers.items():
                    self.send_header(name, value)
                with suppress(OSError):  # the client may have left
                    self.end_headers()
                    self.wfile.write(given.body[: len(given.body) - given.cut])

            do_GET = do_POST = do_PUT = do_DELETE = _handle

            def log_message(self, *_: object) -> None:
                return

        return Handler
