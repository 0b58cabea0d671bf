"""Sizes as a person types them."""

from scrollintel.visual.requests import broken


def sized(size: str | None, width: int | None, height: int | None) -> tuple[int | None, int | None]:
    """Return width and height in pixels, from a size such as `1024x768` or from the two themselves.

    Raises:
        PromptError: both are given, or the size does not look like one.
    """
    if size is None:
        return width, height
    if width is not None or height is not None:
        raise broken("size", "exclusive", "give --size or --width and --height, not both")
    parts = size.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise broken("size", "format", "must look like 1024x768")
    return int(parts[0]), int(parts[1])
