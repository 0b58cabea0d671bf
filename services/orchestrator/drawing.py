"""What one drawing looks like while the router runs it: what may be told at once, and what to remember."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from scrollintel.visual.v1 import events_pb2
from scrollintel.visual.v1.events_pb2 import Candidate, Fallback, Output, Routed
from scrollintel.visual.v1.prompt_pb2 import PromptWording
from scrollintel.visual.v1.router_pb2 import ExecuteResponse
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator.delivery import Emit, Picture
from services.runtime.wordings import wording_for


@dataclass
class Drawing:
    """Listens to the router and remembers what the assets shall know of their making.

    `only` is the number of the picture, where one of the request is drawn again: the router knows it as the first.
    """

    generation_id: str
    asked: ImageSpec
    drawn: ImageSpec
    emit: Emit
    wordings: Sequence[PromptWording] = ()
    only: int | None = None
    began: float = field(default_factory=time.monotonic)
    chosen: Candidate = field(default_factory=Candidate)
    steps: int = 0
    seconds: float = 0.0  # from its beginning to its last picture so far
    _candidates: dict[str, Candidate] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def hear(self, event: ExecuteResponse) -> Output | None:
        """Pass on what may be told at once; return a picture, which may not be told before it was checked.

        A picture that was not asked for, or that came before, is dropped.
        """
        match event.WhichOneof("event"):
            case "routed":
                self._route(event.routed)
                event.routed.reasons.extend(self._worded())
                self.emit(event.routed)
            case "step":
                if event.step.stage == events_pb2.STAGE_DRAW:
                    self.steps = event.step.n
                self.emit(event.step)
            case "preview":
                event.preview.index = self._index(event.preview.index)
                self.emit(event.preview)
            case "fallback":
                self._fall_back(event.fallback)
                self.emit(event.fallback)
            case "output" if self._is_wanted(event.output):
                event.output.index = self._index(event.output.index)
                self._seen.add(event.output.index)
                self.seconds = time.monotonic() - self.began
                return event.output
        return None

    def again(self, drawn: ImageSpec, only: int) -> "Drawing":
        """Return what listens to one of these pictures being drawn again, by another spec."""
        return Drawing(self.generation_id, self.asked, drawn, self.emit, self.wordings, only)

    def picture(self, output: Output) -> Picture:
        """Return what is known of a picture."""
        seed = output.seed if output.HasField("seed") else None
        known = {
            "prompt": self.asked.prompt,
            "enhanced_prompt": self._prompt,
            "negative_prompt": self.drawn.negative_prompt,
            "style": self.drawn.style,
            "model": self.chosen.model,
            "backend": self.chosen.backend,
            "seed": "" if seed is None else str(seed),
            "steps": str(self.steps or ""),
            "guidance_scale": f"{self.asked.guidance_scale:g}"
            if self.asked.HasField("guidance_scale")
            else "",
            "size": f"{self.asked.width}x{self.asked.height}",
        }
        told = {key: value for key, value in known.items() if value}
        return Picture(self.generation_id, output.index, self.asked.prompt, seed, told)

    @property
    def _prompt(self) -> str:
        """What the model that was chosen is given."""
        return wording_for(self.chosen.model, self.drawn.prompt, self.wordings)

    def _worded(self) -> list[str]:
        """Return, in words, that the model is given another prompt than was told before it was chosen."""
        if self._prompt == self.drawn.prompt:
            return []
        typed = self._prompt == self.asked.prompt
        return ["draws the prompt as it was typed" if typed else "draws from its own wording of the prompt"]

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Those that were considered, in no order, the refused among them."""
        return list(self._candidates.values())

    @property
    def usd(self) -> float:
        """What one of its pictures costs, in US dollars."""
        return self.chosen.predicted_cost_usd / self.drawn.num_images

    def _index(self, index: int) -> int:
        return index if self.only is None else self.only

    def _is_wanted(self, output: Output) -> bool:
        wanted = 0 <= output.index < self.drawn.num_images
        return wanted and self._index(output.index) not in self._seen

    def _route(self, routed: Routed) -> None:
        self._candidates = {each.backend: each for each in (*routed.runners_up, routed.chosen)}
        self.chosen = routed.chosen

    def _fall_back(self, fallback: Fallback) -> None:
        name: str = getattr(fallback, "to")  # noqa: B009 - beside `from`, which Python reserves
        self.chosen = self._candidates.get(name, Candidate(backend=name, model=name.rpartition("/")[2]))
