"""A server that speaks OpenAI's chat over HTTP and says what a test wants it to."""

import json
from collections.abc import Callable
from typing import Any

from tests.contract.providers.http_server import Answer, HttpServer, Request

KEY = "sk-test-5f1c0d"
CHAT = "/v1/chat/completions"


def said(text: object, reason: str = "stop") -> Answer:
    """An answer in OpenAI's shape."""
    message = {"role": "assistant", "content": text}
    return Answer.of({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})


class ChatServer(HttpServer):
    """Says `text` to whoever has the key; a function is called with what was asked."""

    def __init__(self, text: str | Callable[[Any], str] = "") -> None:
        super().__init__(self._respond_as_chat)
        self.text = text

    @property
    def asked(self) -> Any:
        """The last request's JSON."""
        return json.loads(self.requests[-1].body)

    def _respond_as_chat(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Answer.of({"error": {"message": f"wrong key {request.headers}"}}, 401)
        if request.path != CHAT:
            return Answer.of({"error": {"message": "no such page"}}, 404)
        return said(self.text if isinstance(self.text, str) else self.text(request.json))
