"""Run every static check and say which failed: what `make check` and CI call.

Each check is a command; all of them run even when one fails, so one run tells everything.
"""

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

CHECKS: dict[str, list[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "lint": [str(BIN / "ruff"), "check", "--quiet", "."],
    "types": [
        str(BIN / "mypy"),
        "--no-error-summary",
        "services",
        "router",
        "clients/python/scrollintel",
        "tools",
    ],
    "imports": [str(BIN / "lint-imports"), "--no-cache"],
    "protos: lint": [str(BIN / "buf"), "lint"],
    "protos: format": [str(BIN / "buf"), "format", "--diff", "--exit-code", "protos"],
    "protos: stubs": [sys.executable, "tools/generate_stubs.py", "--check"],
    "pins": [sys.executable, "tools/check_pins.py"],
    "manifests": [sys.executable, "tools/check_k8s.py"],
}


def main() -> None:
    """Run the checks; exit 1 naming those that failed."""
    failed = []
    for name, command in CHECKS.items():
        started = time.perf_counter()
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        verdict = "ok" if result.returncode == 0 else "FAILED"
        print(f"{name:15} {verdict:6} {time.perf_counter() - started:5.1f} s", flush=True)
        if result.returncode != 0:
            failed.append(name)
            print(result.stdout + result.stderr)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
