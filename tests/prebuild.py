"""Builds what few tests ask for, the twins of big models above all, beside the others: minutes of one core at first.

The builder lets several processes build at once, so a test that comes too early waits for what is under way, and one that
finds nothing builds it itself.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from services.models.build import build_repository
from tests.triton_fixture import BUILD_HOME

TWINS: Mapping[str, tuple[str, ...]] = {
    "language": ("language_model",),
    "diffusers": ("sdxl-test", "sdxl-refiner-test", "stable-diffusion-test", "sd3-test", "flux-test"),
    "video": ("svd-test", "wan-test"),
}
LEAST_PRIORITY = 19  # tests of time run beside it


@contextmanager
def prebuilding() -> Iterator[None]:
    """Build in a process of its own while the body runs; what is not done by then is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.prebuild"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # exports run in processes of their own, which have to end with it
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    os.nice(LEAST_PRIORITY)
    for home, models in TWINS.items():
        build_repository(BUILD_HOME / home, models)
