"""What a supervised Triton needs to know."""

from dataclasses import dataclass, field
from pathlib import Path

from services.local.triton.install import TritonInstall, find_install


@dataclass(frozen=True)
class TritonSettings:
    """Seconds unless named otherwise.

    `home` holds the log (`logs/triton.log`), the process id (`triton/pid`) and the staged backend; `repository` is what
    is served, and `models` what of it is loaded at every start: all of it when None. Others are loaded when asked for.
    A restart pauses `backoff`, then twice that, and so on up to `backoff_max`; `stable` of being ready
    starts over. `give_up` failed restarts in a row end in FAILED. `grace` is what requests in flight get
    when the server is stopped.
    """

    home: Path
    repository: Path
    models: tuple[str, ...] | None = None
    start_timeout: float = 60.0
    grace: float = 2.0
    backoff: float = 0.5
    backoff_max: float = 30.0
    stable: float = 30.0
    give_up: int = 10
    probe_every: float = 2.0
    probe_timeout: float = 5.0
    probe_failures: int = 3
    log_max_bytes: int = 4 << 20
    install: TritonInstall = field(default_factory=find_install)

    @property
    def log(self) -> Path:
        """The server's log; the part before the last rotation is `triton.log.1`."""
        return self.home / "logs" / "triton.log"

    @property
    def pid_file(self) -> Path:
        """Holds the server's process id while it runs."""
        return self.home / "triton" / "pid"

    def start_set(self) -> list[str]:
        """What to load at the start: names, of those alone that are in the repository now, or `*`."""
        if self.models is None:
            return ["*"]
        return [name for name in self.models if (self.repository / name / "config.pbtxt").is_file()]
