"""A PostgreSQL for tests: started in a temporary folder, gone with it, and installed first where there is none.

Its disk is never waited for, which makes it fast: what it holds outlives its own crash, not the machine's. It listens
on a socket in its folder only, so that no port is taken and nobody but its user and root reaches it.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa

USER = (
    "postgres"  # of the database; and of the machine where root runs this, whom PostgreSQL refuses to serve
)
START_SECONDS = 30
INSTALL_SECONDS = 600
DEBIAN = Path("/usr/lib/postgresql")  # one folder a version, and not on the path
MEMORY = Path("/dev/shm")  # noqa: S108 (nothing lies in it but in folders of our own)
ENOUGH = 2**30  # bytes that must be free there
OPTIONS = "-F -c listen_addresses= -c full_page_writes=off -c shared_buffers=16MB"


@dataclass(frozen=True, eq=False)
class Postgres:
    """A server of one folder, which its user owns. `stop` and `start` leave what is in it."""

    programs: Path
    folder: Path

    def start(self) -> None:
        """Start the server and wait until it answers. Raises subprocess.CalledProcessError."""
        self._run(
            "pg_ctl", "--wait", f"--timeout={START_SECONDS}", f"--log={self.folder}/log", f"--pgdata={self.folder}/data",
            f"--options={OPTIONS} -k {self.folder}", "start",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the server at once, as a crash would. Raises subprocess.CalledProcessError."""
        self._run("pg_ctl", "--mode=immediate", f"--pgdata={self.folder}/data", "stop")

    def url(self, database: str) -> str:
        """Return the address of a database, for SQLAlchemy with psycopg."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """Create an empty database and return its address."""
        # Copied as files, which all did before version 15: logging the copy takes five times as long.
        quickly = " STRATEGY FILE_COPY" if self._version() >= (15,) else ""
        self._execute(f'CREATE DATABASE "{database}"{quickly}')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever uses it."""
        self._execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def _version(self) -> tuple[int, ...]:
        with self._engine.connect() as connection:
            return connection.dialect.server_version_info or ()

    def _execute(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)

    @cached_property
    def _engine(self) -> sa.Engine:
        # No pool: a kept connection would be a broken one after a stop.
        return sa.create_engine(self.url(USER), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)

    def _run(self, program: str, *arguments: str) -> None:
        run_unprivileged(self.programs / program, *arguments)


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a new, empty server, and remove it on leaving. Raises FileNotFoundError as `find_programs` does."""
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=quick_folder()))
    server = Postgres(programs, folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        run_unprivileged(
            programs / "initdb", "--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8", "--locale=C",
            f"--username={USER}", f"--pgdata={folder}/data",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def quick_folder() -> Path:
    """Return where to keep what need not last: in memory where there is room."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ENOUGH:
        return MEMORY
    return Path(tempfile.gettempdir())


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs, the newest version's; install it where there is none.

    Raises FileNotFoundError, which says what to do, where it cannot be installed.
    """
    return _programs() or _install()


def run_unprivileged(program: Path, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, as its own user where this is root. Raises subprocess.CalledProcessError."""
    root = os.geteuid() == 0
    with tempfile.TemporaryFile() as output:  # not a pipe: the server inherits it and would hold it open
        done = subprocess.run(
            [program, *arguments], cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            user=USER if root else None, group=USER if root else None, extra_groups=[] if root else None,
        )  # fmt: skip
        output.seek(0)
        if done.returncode:
            raise subprocess.CalledProcessError(
                done.returncode, program.name, output.read().decode(errors="replace")
            )


def _programs() -> Path | None:
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = (path.parent for path in DEBIAN.glob("*/bin/initdb"))
    return max(found, key=_version, default=None)


def _version(programs: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", programs.parent.name)]


def _install() -> Path:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise FileNotFoundError(
            "the tests need PostgreSQL: put its initdb and pg_ctl on the path "
            "(on Debian: sudo apt-get install postgresql)"
        )
    print("installing PostgreSQL for the tests ...", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", "postgresql"]):
        subprocess.run(["apt-get", *command], env=quiet, check=True, timeout=INSTALL_SECONDS)
    if (programs := _programs()) is None:
        raise FileNotFoundError(f"apt-get installed PostgreSQL, but there is no initdb under {DEBIAN}")
    return programs
