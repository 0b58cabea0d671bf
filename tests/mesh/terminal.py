"""`vmesh` as a process of its own."""

import asyncio
import os
import sys
from pathlib import Path

SECONDS = 90


async def start(*arguments: str, home: Path, cwd: Path | None = None) -> asyncio.subprocess.Process:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VMESH_")} | {
        "VMESH_HOME": str(home),
        "COLUMNS": "160",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scrollintel.visual.cli",
        *arguments,
        env=environment,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def vmesh(*arguments: str, home: Path, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run a command to its end and return its exit code and what it wrote to stdout and stderr."""
    process = await start(*arguments, home=home, cwd=cwd)
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode or 0, out.decode(), err.decode()
