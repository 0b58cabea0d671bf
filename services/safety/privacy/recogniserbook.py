"""The recognisers as they are shipped beside this module."""

from functools import cache
from importlib.resources import files

import yaml

from services.safety.privacy.recognition import RecogniserSet


@cache
def shipped() -> RecogniserSet:
    """Read and compile them, once a process; it takes a tenth of a second, so call it off the event loop."""
    return RecogniserSet.parse(
        yaml.safe_load(files(__package__).joinpath("recognisers.yaml").read_text("utf-8"))
    )
