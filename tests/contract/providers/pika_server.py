"""A server that speaks fal's queue as documented at fal.ai/docs/api-reference/inference-api, with Pika's models on it."""

from collections.abc import Iterable, Mapping
from itertools import count

from tests.contract.providers.http_server import Answer, HttpServer, Request
from tests.contract.providers.samples import KEY

APP = "/fal-ai/pika"  # owner and app, without the path of the endpoint
REQUESTS = f"{APP}/requests/"


def queued(position: int) -> dict[str, object]:
    return {"status": "IN_QUEUE", "queue_position": position}


RUNNING: dict[str, object] = {"status": "IN_PROGRESS", "logs": None}


def completed(**more: object) -> dict[str, object]:
    """A request that ended, well or not."""
    return {"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 3.5}, **more}


def model_error(kind: str, status: int = 422) -> Answer:
    """What a model answers that refuses its input (fal.ai/docs/documentation/model-apis/errors)."""
    detail = {
        "loc": ["body", "prompt"],
        "msg": "in words nobody shall repeat",
        "type": kind,
        "url": "https://x",
    }
    return Answer.of({"detail": [detail]}, status, X_Fal_Retryable="false")


def request_error(kind: str, status: int) -> Answer:
    """What fal answers whose runner failed (fal.ai/docs/documentation/model-apis/request-errors)."""
    content = {"detail": "in words nobody shall repeat", "error_type": kind}
    return Answer.of(content, status, X_Fal_Error_Type=kind)


class PikaServer(HttpServer):
    """Each request goes through `states`, one a look, and stays in the last; `result` is asked for after that."""

    def __init__(self, file: bytes, states: Iterable[Mapping[str, object]] = ()) -> None:
        super().__init__(self._respond_as_fal)
        self.file = Answer(body=file, media_type="video/mp4")
        self.states = [*states, completed()]
        self.jobs: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.result: Answer | None = None
        self._numbers = count(1)

    def end(self, state: Mapping[str, object]) -> None:
        """Have jobs come to this state in the end, and go no further."""
        self.states[-1] = dict(state)

    def _respond_as_fal(self, request: Request) -> Answer:
        if request.path.startswith("/files/"):
            return self.file
        if request.headers.get("authorization") != f"Key {KEY}":
            return Answer.of({"detail": "Invalid authentication credentials"}, 401)
        if request.method == "POST" and request.path.startswith(f"{APP}/"):
            return self._submit(request)
        name, _, question = request.path.removeprefix(REQUESTS).partition("/")
        if name not in self.jobs:
            return Answer.of({"status": "NOT_FOUND"}, 404)
        if question == "cancel" and request.method == "PUT":
            return self._cancel(name)
        return self._look(name) if question == "status" else self._outcome(name)

    def _submit(self, request: Request) -> Answer:
        if not request.json.get("prompt"):
            return model_error("missing")
        name = f"request-{next(self._numbers)}"
        self.jobs[name] = 0
        url = f"{self.url}{REQUESTS}{name}"
        urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
        return Answer.of({"status": "IN_QUEUE", "request_id": name, "queue_position": 2, **urls})

    def _state(self, name: str) -> Mapping[str, object]:
        if name in self.cancelled:
            return completed(error="The request was cancelled", error_type="client_cancelled")
        return self.states[self.jobs[name]]

    def _look(self, name: str) -> Answer:
        state = self._state(name)
        self.jobs[name] = min(self.jobs[name] + 1, len(self.states) - 1)
        return Answer.of({"request_id": name, **state}, 200 if state["status"] == "COMPLETED" else 202)

    def _outcome(self, name: str) -> Answer:
        if self._state(name)["status"] != "COMPLETED":
            return Answer.of({"detail": "Request is still in progress"}, 400)
        if name in self.cancelled:
            return request_error("client_cancelled", 499)
        file = {
            "url": f"{self.url}/files/{name}.mp4",
            "content_type": "video/mp4",
            "file_size": len(self.file.body),
        }
        return self.result or Answer.of({"video": file})

    def _cancel(self, name: str) -> Answer:
        if self._state(name)["status"] == "COMPLETED":
            return Answer.of({"status": "ALREADY_COMPLETED"}, 400)
        self.cancelled.add(name)
        return Answer.of({"status": "CANCELLATION_REQUESTED"}, 202)
