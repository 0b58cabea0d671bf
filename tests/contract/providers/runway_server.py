"""A server that speaks Runway's HTTP as documented at docs.dev.runwayml.com: tasks, their states, their files."""

from collections.abc import Iterable, Mapping
from itertools import count

from tests.contract.providers.http_server import Answer, HttpServer, Request
from tests.contract.providers.samples import KEY

CREATES = ("/v1/text_to_video", "/v1/image_to_video", "/v1/text_to_image")
PENDING, THROTTLED, CANCELLED = ({"status": name} for name in ("PENDING", "THROTTLED", "CANCELLED"))
NOT_FOUND = Answer.of({"error": "Task not found"}, 404)


def running(progress: float) -> dict[str, object]:
    """A task at work, `progress` in [0, 1]."""
    return {"status": "RUNNING", "progress": progress}


def failed(code: str) -> dict[str, object]:
    """A task that failed for the reason that `code` names."""
    return {"status": "FAILED", "failure": "in words nobody shall repeat", "failureCode": code}


class RunwayServer(HttpServer):
    """Each task goes through `states`, one a look, and stays in the last; SUCCEEDED has the file for its output."""

    def __init__(self, file: bytes, states: Iterable[Mapping[str, object]] = ()) -> None:
        super().__init__(self._respond_as_runway)
        self.file = Answer(body=file, media_type="application/octet-stream")
        self.states = [*states, {"status": "SUCCEEDED"}]
        self.tasks: dict[str, int] = {}
        self._numbers = count(1)

    def end(self, state: Mapping[str, object]) -> None:
        """Have jobs come to this state in the end, and go no further."""
        self.states[-1] = dict(state)

    def _respond_as_runway(self, request: Request) -> Answer:
        if request.path.startswith("/files/"):
            return self.file
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Answer.of({"error": "The API key is not valid."}, 401)
        if request.headers.get("x-runway-version") != "2024-11-06":
            return Answer.of({"error": "X-Runway-Version is missing."}, 400)
        if request.method == "POST" and request.path in CREATES:
            return self._create()
        task = request.path.removeprefix("/v1/tasks/")
        if task not in self.tasks:
            return NOT_FOUND
        if request.method == "DELETE":
            del self.tasks[task]
            return Answer(status=204)
        return self._look(task)

    def _create(self) -> Answer:
        task = f"task-{next(self._numbers)}"
        self.tasks[task] = 0
        return Answer.of({"id": task, "estimatedCost": {"credits": 60}})

    def _look(self, task: str) -> Answer:
        state = dict(self.states[self.tasks[task]])
        self.tasks[task] = min(self.tasks[task] + 1, len(self.states) - 1)
        ended = state["status"] in ("SUCCEEDED", "FAILED", "CANCELLED")
        if state["status"] == "SUCCEEDED":
            state.setdefault("output", [f"{self.url}/files/{task}?_jwt=signed"])
        cost = {"cost" if ended else "estimatedCost": {"credits": 60}}
        return Answer.of({"id": task, "createdAt": "2026-11-23T00:00:00Z", **cost, **state})
