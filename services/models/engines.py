"""TensorRT engines for a model that is built, made and checked on the machine whose GPU will run them."""

from collections.abc import Callable
from pathlib import Path

from services.models.catalogue import CatalogueError
from services.models.entry import Model, Precision
from services.models.inventory import built_models


def build_engines_of(
    name: str, home: Path, report: Callable[[str], None], precision: Precision | None = None
) -> None:
    """Build an engine for every component of a built model; an engine that is there and fits is left as it is.

    `precision` is the model's own when not given. Raises CatalogueError when the model is not built, and what
    `services.models.tensorrt` raises.
    """
    from services.models.tensorrt import build_engines  # heavy, and its library is on GPU machines alone

    built = {model.name: (model, build) for model, build in built_models(home)}
    if name not in built:
        raise CatalogueError(f"{name} is not built; first: vmesh models build {name}")
    model, build = built[name]
    build_engines(build, model, _checked(model, precision), report)


def _checked(model: Model, precision: Precision | None) -> Precision:
    if precision and precision not in model.precisions:
        known = ", ".join(model.precisions)
        raise CatalogueError(f"--precision: {model.name} is built in {known}; not in {precision}")
    return precision or model.precision
