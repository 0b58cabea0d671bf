"""An operator's bridge to Midjourney, speaking the shape of docs/12-providers.md."""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from tests.contract.providers.http_server import Answer, HttpServer, Request
from tests.contract.providers.samples import KEY

QUEUED: dict[str, object] = {"status": "queued"}
CANCELLED: dict[str, object] = {"status": "cancelled"}
NOT_FOUND = Answer.of({"error": {"code": "not_found"}}, 404)


def running(progress: int) -> dict[str, object]:
    """A job at work, `progress` in hundredths."""
    return {"status": "running", "progress": progress}


def failed(code: str) -> dict[str, object]:
    """A job that failed for the reason that `code` names."""
    return {"status": "failed", "error": {"code": code, "message": "in words nobody shall repeat"}}


def refused(code: str, status: int = 422) -> Answer:
    """A call that is refused for the reason that `code` names."""
    return Answer.of({"error": {"code": code, "message": "in words nobody shall repeat"}}, status)


class MidjourneyServer(HttpServer):
    """Each imagined grid goes through `states`, one a look, and stays in the last; an upscale is done at once."""

    def __init__(self, file: bytes, states: Iterable[Mapping[str, object]] = ()) -> None:
        super().__init__(self._respond_as_bridge)
        self.file = Answer(body=file, media_type="image/png")
        self.states = [*states, {"status": "succeeded", "progress": 100}]
        self.jobs: dict[str, dict[str, object]] = {}
        self.upscales: dict[tuple[str, int], str] = {}
        self.looks: dict[str, int] = {}
        self._numbers = count(1)

    def end(self, state: Mapping[str, object]) -> None:
        """Have jobs come to this state in the end, and go no further."""
        self.states[-1] = dict(state)

    def _respond_as_bridge(self, request: Request) -> Answer:
        if request.path.startswith("/files/"):
            return self.file
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return refused("unauthorized", 401)
        match request.method, *request.path.strip("/").split("/"):
            case "POST", "imagine":
                return self._created(request.json["reference"], request.json["count"])
            case "POST", "jobs", parent, ("upscale" | "variation") as action if parent in self.jobs:
                return self._follow_up(parent, action, request.json)
            case "GET", "jobs":
                named = [job for job in self.jobs.values() if job["reference"] == request.query["reference"]]
                return Answer.of({"jobs": named})
            case "GET", "jobs", name if name in self.jobs:
                return self._look(name)
            case "DELETE", "jobs", name if name in self.jobs:
                ended = self.states[self.looks[name]]["status"] not in ("queued", "running")
                return refused("ended", 409) if ended else Answer(status=204)
        return NOT_FOUND

    def _created(self, reference: str, wanted: int) -> Answer:
        name = f"job-{next(self._numbers)}"
        self.jobs[name] = {"id": name, "reference": reference, "count": wanted}
        self.looks[name] = 0
        return Answer.of({"id": name}, 201)

    def _follow_up(self, parent: str, action: str, asked: Mapping[str, Any]) -> Answer:
        if action == "variation":
            return self._created(asked["reference"], asked["count"])
        key = (parent, asked["index"])
        if key not in self.upscales:
            self.upscales[key] = self._created("", 1).content["id"]
            self.looks[self.upscales[key]] = len(self.states) - 1
        return Answer.of({"id": self.upscales[key]}, 201)

    def _look(self, name: str) -> Answer:
        state = dict(self.states[self.looks[name]])
        self.looks[name] = min(self.looks[name] + 1, len(self.states) - 1)
        if state["status"] == "succeeded":
            state.setdefault("images", [f"{self.url}/files/{name}.png"])
        return Answer.of(self.jobs[name] | state)
