"""Generate the Python stubs from protos/ into clients/python, or check that the committed ones are current.

`python tools/generate_stubs.py` writes them; `--check` writes to a temporary folder, compares, and exits 1 naming
every file that differs. The stubs are committed, so that installing the client needs no compiler.
"""

import argparse
import filecmp
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "clients" / "python"
PROTOS = ROOT / "protos"
VENDORED = (ROOT / "third_party" / "googleapis", ROOT / "third_party" / "protovalidate")
SCRIPTS = Path(sysconfig.get_path("scripts"))  # named in full: an environment need not be on PATH to be used
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
VALIDATE = "buf/validate/validate.proto"  # its stubs ship with ours: no package on PyPI carries them


def generate(out: Path) -> None:
    """Generate messages, services and their types into `out`; raises SystemExit when protoc refuses."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    plugins = [f"--plugin={name}={SCRIPTS / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    includes = [f"-I{path}" for path in (PROTOS, *VENDORED, WELL_KNOWN)]
    messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    # Concrete: a servicer leaves out what it does not serve yet, and the runtime answers UNIMPLEMENTED for it.
    services = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{out}"]
    for arguments in ([*messages, VALIDATE], [*messages, *services, *ours]):
        if protoc.main(["protoc", *plugins, *includes, *arguments]) != 0:
            raise SystemExit("protoc failed; its message is above")
    # A file without a service still gets a service module with nothing in it; nobody imports those.
    for path in ours:
        if "\nservice " not in (PROTOS / path).read_text():
            for suffix in ("_pb2_grpc.py", "_pb2_grpc.pyi"):
                (out / path.replace(".proto", suffix)).unlink(missing_ok=True)


def generated_files(folder: Path) -> set[Path]:
    """Return the stub files below a folder, relative to it."""
    return {
        path.relative_to(folder) for path in folder.rglob("*_pb2*.py*") if "__pycache__" not in path.parts
    }


def stale(fresh: Path) -> list[str]:
    """Return the stubs that are missing, left over or different from those in the folder `fresh`."""
    return [
        str(path)
        for path in sorted(generated_files(fresh) | generated_files(OUT))
        if not (fresh / path).exists()
        or not (OUT / path).exists()
        or not filecmp.cmp(fresh / path, OUT / path, shallow=False)
    ]


def write() -> None:
    """Put in place what differs, each file at once, and remove what is left over.

    No stub is missing meanwhile: who imports or checks types at that moment would take its messages for anything.
    """
    with tempfile.TemporaryDirectory(dir=OUT.parent) as name:
        fresh = Path(name)
        generate(fresh)
        for path in stale(fresh):
            if (fresh / path).exists():
                (OUT / path).parent.mkdir(parents=True, exist_ok=True)
                (fresh / path).replace(OUT / path)
            else:
                (OUT / path).unlink()


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        write()
        return
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name)
        generate(fresh)
        if different := stale(fresh):
            sys.exit("stale stubs, run `make gen`:\n  " + "\n  ".join(different))


if __name__ == "__main__":
    main()
