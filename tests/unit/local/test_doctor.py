"""The doctor finds what is missing, tells what mends it, and survives whatever is broken."""

import json
import os
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest

from scrollintel.visual import running
from services.local import doctor, machine
from services.local.findings import Verdict


def one(findings):
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10), "missing"), ((3, 11), "fine"), ((3, 13), "fine"), ((3, 14), "missing")],
)
def test_python(version, verdict):
    finding = one(machine.python(version))
    assert finding.verdict == verdict
    assert bool(finding.remedy) == (verdict == "missing")


def test_the_packages_of_this_environment_are_as_pinned():
    assert one(machine.packages()).verdict is Verdict.FINE


def test_wrong_and_absent_packages_are_named(monkeypatch):
    pins = ["grpcio==0.0.1", "no-such-package==1.2", "numpy>=1", 'pytest==0.1; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda _: pins)
    finding = one(machine.packages())
    assert finding.verdict is Verdict.MISSING
    assert f"grpcio 0.0.1 is wanted, {metadata.version('grpcio')} is here" in finding.detail
    assert "no-such-package 1.2 is wanted, nothing is here" in finding.detail
    assert "pytest" not in finding.detail
    assert "numpy" not in finding.detail


def test_a_distribution_that_is_not_installed():
    assert one(machine.packages("no-such-distribution")).verdict is Verdict.MISSING


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    fake = tmp_path / "ldd"
    fake.write_text(
        "#!/bin/sh\necho '  libb64.so.0d => not found'\necho '  libc.so.6 => /lib/libc.so.6 (0x1)'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(machine.shutil, "which", lambda _: str(fake))
    _, libraries = machine.triton()
    assert libraries.verdict is Verdict.MISSING
    assert "libb64.so.0d" in libraries.detail
    assert "libc.so.6" not in libraries.detail


def test_what_only_developers_need_is_advice(tmp_path, monkeypatch):
    assert one(machine.tools()).verdict is Verdict.FINE
    monkeypatch.setattr(machine.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    assert one(machine.tools()).verdict is Verdict.ADVICE


def test_too_little_memory_is_advice(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4000000 kB\nMemAvailable:   1000000 kB\n")
    memory, _ = machine.memory(meminfo)
    assert memory.verdict is Verdict.ADVICE
    assert "1.0 GiB" in memory.detail


def test_too_little_room_is_missing(tmp_path):
    assert one(machine._room("disk", tmp_path, 1 << 62, "free some")).verdict is Verdict.MISSING
    assert one(machine._room("disk", tmp_path / "none", 1, "mount it")).verdict is Verdict.MISSING


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written():
    assert one(machine.disk(Path("/proc/home"))).verdict is Verdict.MISSING


def test_a_home_that_is_not_there_yet_is_fine(tmp_path):
    assert one(machine.disk(tmp_path / "a" / "b")).verdict is Verdict.FINE


def test_the_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert one(machine.port(listen)).verdict is Verdict.ADVICE
        assert one(machine.port(listen, ours=listen)).verdict is Verdict.FINE
    assert one(machine.port(listen)).verdict is Verdict.FINE


def test_a_mesh_that_does_not_answer(tmp_path):
    mesh = running.RunningMesh(os.getpid(), "127.0.0.1:1", {}, "", "")
    finding = one(doctor.live(mesh))
    assert finding.verdict is Verdict.MISSING
    assert finding.remedy.startswith(f"kill {os.getpid()}")


def test_models_that_are_not_built(tmp_path):
    found = {finding.name: finding for finding in doctor.models(tmp_path)}
    assert found["model text_embedding"].verdict is Verdict.MISSING
    assert found["model text_embedding"].remedy == "vmesh models build text_embedding"


def test_a_look_that_breaks_is_a_finding_and_the_others_go_on(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("no more")

    monkeypatch.setattr(machine, "packages", broken)
    found = {finding.name: finding for finding in doctor.examine(tmp_path)}
    assert found["packages"].verdict is Verdict.MISSING
    assert "no more" in found["packages"].detail
    assert "mesh" in found


def test_what_is_missing_decides_the_exit_code(tmp_path, capsys):
    assert doctor.run(tmp_path, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert all(finding["remedy"] for finding in told if finding["verdict"] != "fine")
    assert doctor.run(tmp_path, as_json=False) == 1
    assert "missing" in capsys.readouterr().out


def test_the_commands_can_be_loaded_without_the_servers():
    """`vmesh doctor` must start where a package of the servers is missing."""
    code = (
        "import sys; sys.modules.update({'opentelemetry': None, 'pydantic': None, 'tritonclient': None});"
        "from services.local.commands import doctor; from services.local.doctor import run;"
        "import pathlib; sys.exit(run(pathlib.Path('/nonexistent'), as_json=True))"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert {finding["name"] for finding in json.loads(done.stdout)} >= {"python", "packages", "port"}
