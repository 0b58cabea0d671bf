"""Install what tests need beyond the `dev` extra, unless it is there: torch, for the model numerics and the training.

Torch is left out of `dev` because nothing that serves needs it and its default build is gigabytes.
"""

import subprocess
import sys
from importlib.util import find_spec

EXTRAS = {"torch": "torch==2.13.0", "safetensors": "safetensors>=0.4", "tqdm": "tqdm>=4.66"}


def main() -> None:
    """Install the missing ones."""
    if missing := [requirement for module, requirement in EXTRAS.items() if find_spec(module) is None]:
        print("installing for the tests:", ", ".join(missing), flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)


if __name__ == "__main__":
    main()
