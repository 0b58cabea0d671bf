"""Puts prompts to models and gathers what comes of them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from scrollintel.visual import VisualClient
from scrollintel.visual.catalogue import Modality
from scrollintel.visual.cli import files
from scrollintel.visual.events import Completed, Event, Failed, Fallback, Routed, Stage, Step
from scrollintel.visual.exceptions import GenerationCancelledError, VisualMeshError
from scrollintel.visual.requests import ImageFields, broken
from scrollintel.visual.results import GenerationResult
from services.local.compare.board import Board
from services.local.compare.figures import Outcome
from services.local.compare.prompts import Prompt

FEWEST, MOST = 2, 8  # models


@dataclass(frozen=True)
class Asking:
    """What is the same for every prompt and model."""

    models: tuple[str, ...]
    image: ImageFields
    max_cost_usd: float | None
    in_turn: bool
    """Whether each model has the machine for itself."""


@dataclass
class Heard:
    """What a model's events told."""

    generation: str = ""
    backend: str = ""
    cold: bool = False
    ended: GenerationResult | VisualMeshError | None = None

    def hear(self, event: Event) -> None:
        """Take in an event."""
        self.generation = event.generation_id
        match event:
            case Routed():
                self.backend = event.chosen.backend
            case Fallback():
                self.backend = event.chosen
            case Step(stage=Stage.LOAD):
                self.cold = True
            case Completed():
                self.ended = event.result
            case Failed():
                self.ended = event.error


async def models_that_work(client: VisualClient, *, paid: bool) -> tuple[str, ...]:
    """Return the models that make pictures from text and take work now, by name, at most 8; `paid` ones where wanted.

    Raises:
        PromptError: there are fewer than two.
    """
    backends = await client.backends()
    found = sorted(
        {
            backend.model
            for backend in backends
            if backend.modality is Modality.TEXT_TO_IMAGE
            and backend.state.takes_work
            and (paid or not backend.paid)
        }
    )
    if len(found) < FEWEST:
        here = f"only {found[0]} takes" if found else "none takes"
        raise broken(
            "models",
            "min_items",
            f"a comparison takes two models and {here} work here without being paid: name others, build one "
            "(vmesh models list), or allow paid ones with --max-cost",
        )
    return tuple(found[:MOST])


async def compare(
    client: VisualClient, prompt: Prompt, asking: Asking, board: Board, folder: Path
) -> list[Outcome]:
    """Return what every model makes of a prompt, in their order, with the pictures saved in `folder`.

    A model's failure is its own; so is a call that is refused as a whole, then every model's.

    Raises:
        GenerationCancelledError: it was cancelled.
        OSError: a picture could not be written.
    """
    board.begin(prompt.text, asking.models)
    heard = {model: Heard() for model in asking.models}
    broke: VisualMeshError | None = None
    try:
        async with aclosing(_events(client, prompt, asking, heard)) as events:
            async for model, event in events:
                heard[model].hear(event)
                board.hear(model, event)
    except GenerationCancelledError:
        raise
    except VisualMeshError as error:
        broke = error
    return [await _outcome(prompt, model, one, broke, folder) for model, one in heard.items()]


async def _events(
    client: VisualClient, prompt: Prompt, asking: Asking, heard: Mapping[str, Heard]
) -> AsyncGenerator[tuple[str, Event], None]:
    if not asking.in_turn:
        comparison = client.compare_models(
            prompt.text, models=asking.models, max_cost_usd=asking.max_cost_usd, **asking.image
        )
        async with comparison:
            async for model, event in comparison:
                yield model, event
        return
    for model in asking.models:
        generation = client.generate_image(
            prompt.text, model_preference=model, max_cost_usd=asking.max_cost_usd, **asking.image
        )
        try:
            async with generation:
                async for event in generation:
                    yield model, event
        except GenerationCancelledError:
            raise
        except VisualMeshError as error:  # refused before its first event
            heard[model].ended = error


async def _outcome(
    prompt: Prompt, model: str, heard: Heard, broke: VisualMeshError | None, folder: Path
) -> Outcome:
    match heard.ended:
        case GenerationResult(assets=(asset, *_)) as result:
            try:
                path = await files.save(asset, folder / f"{prompt.name}-{model}.png", replace=True)
            except VisualMeshError as error:
                return Outcome(prompt.name, model, heard.generation, heard.backend, error=error)
            return Outcome(
                prompt=prompt.name,
                model=model,
                generation=result.id,
                backend=heard.backend,
                asset=asset.id,
                seed=asset.seed,
                seconds=result.seconds,
                cold=heard.cold,
                cost_usd=result.cost_usd,
                scores={name: score.value for name, score in result.quality.measured()},
                path=path,
            )
        case VisualMeshError() as error:
            return Outcome(prompt.name, model, heard.generation, heard.backend, error=error)
        case _:
            lost = broke or VisualMeshError("the mesh did not say how it ended")
            return Outcome(prompt.name, model, heard.generation, heard.backend, error=lost)
