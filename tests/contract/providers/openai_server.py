"""A server that speaks OpenAI's image HTTP: generations in JSON, edits in multipart, errors as its documents name them."""

import base64
import json
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from tests.contract.providers.http_server import Answer, HttpServer, Request
from tests.contract.providers.samples import KEY, png

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 20},
    "output_tokens": 1756,
    "total_tokens": 1786,
}
WORDS = "words of the provider that nobody may repeat"


def refusal(
    status: int, code: str | None = None, kind: str = "invalid_request_error", **headers: str
) -> Answer:
    """An error in OpenAI's shape."""
    error = {"message": WORDS, "type": kind, "param": None, "code": code}
    return Answer.of({"error": error}, status, **headers)


UNSAFE = refusal(400, "moderation_blocked", "image_generation_user_error")
NO_MONEY = refusal(429, "credit_balance_exhausted", "insufficient_quota")


def pictures(files: list[bytes | None], usage: object = USAGE) -> Answer:
    """A success that carries these files."""
    data = [{"b64_json": file and base64.b64encode(file).decode()} for file in files]
    return Answer.of({"created": 1, "data": data, "usage": usage})


class OpenAIServer(HttpServer):
    """Draws `file` for every picture that is asked for, in answers to whoever has the key."""

    def __init__(self, file: bytes | None = None) -> None:
        super().__init__(self._respond_as_openai)
        self.file = file or png()

    @property
    def jobs(self) -> int:
        """How many pictures or edits were asked for, in whatever came of it."""
        return self.count("POST", "/v1/images/")

    def _respond_as_openai(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "invalid_api_key")
        if request.method != "POST" or request.path not in (GENERATIONS, EDITS):
            return refusal(404)
        return pictures([self.file] * int(fields(request)["n"]))


def fields(request: Request) -> dict[str, Any]:
    """What a request says: of JSON its content, of a form its fields, a file as (name, media type, bytes)."""
    if request.path == GENERATIONS:
        return dict(json.loads(request.body))
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    found: dict[str, Any] = {}
    for part in message_from_bytes(head + request.body, policy=HTTP).iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        file = part.get_filename()
        found[name] = (file, part.get_content_type(), content) if file else content.decode()
    return found
