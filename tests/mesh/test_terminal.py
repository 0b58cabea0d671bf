"""The command line against the real mesh."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from scrollintel.visual import running
from scrollintel.visual.cli import png
from services.local.mesh import LocalMesh
from tests.mesh.conftest import home_with_models
from tests.mesh.terminal import start, vmesh
from tests.mesh.triton_idle import seconds_until_idle

QUICK = ("--steps", "4", "--size", "256x256")


async def test_four_pictures_twice_are_the_same_pictures(mesh: LocalMesh, tmp_path):
    files: list[dict[str, bytes]] = []
    for folder in ("one", "two", "other"):
        seed = "11" if folder == "other" else "7"
        arguments = (
            "generate",
            "a smiling cat",
            "-n",
            "4",
            "--seed",
            seed,
            *QUICK,
            "-o",
            str(tmp_path / folder),
        )
        code, out, err = await vmesh(*arguments, home=mesh.home)
        assert code == 0, err
        paths = [Path(line) for line in out.splitlines()]
        assert [path.name for path in paths] == [f"a-smiling-cat-{int(seed) + i}.png" for i in range(4)]
        files.append({path.name: path.read_bytes() for path in paths})
    one, two, other = files
    assert set(one) == set(two)
    assert all(png.same_but_manifest(one[name], two[name]) for name in one)
    assert not any(png.same_but_manifest(mine, its) for mine in one.values() for its in other.values())
    text = png.text_of(one["a-smiling-cat-7.png"])
    assert text["prompt"] == "a smiling cat"
    assert (text["seed"], text["steps"], text["size"], text["model"]) == (
        "7",
        "4",
        "256x256",
        "text_to_image_house",
    )


async def test_a_generated_picture_verifies_and_a_changed_one_does_not(mesh: LocalMesh, tmp_path):
    code, out, err = await vmesh(
        "generate", "a red apple", "--seed", "7", *QUICK, "-o", str(tmp_path), "--json", home=mesh.home
    )
    assert code == 0, err
    made = json.loads(out)
    file = Path(made["files"][0]["path"])
    changed = _changed(file)
    code, out, err = await vmesh("verify", str(file), "--json", home=mesh.home)
    assert code == 0, err
    (told,) = json.loads(out)["files"]
    assert told["manifest_valid"]
    assert told["watermark_found"]
    assert (told["generation_id"], told["model"]) == (made["id"], "text_to_image_house")
    code, out, err = await vmesh("verify", str(file), str(changed), home=mesh.home)
    assert code == 1, err
    assert f"valid {file}" in out
    assert f"not valid {changed}" in out
    assert "changed after it was signed" in out
    assert out.count(f"found {told['watermark']}") == 2


async def test_the_timeline_tells_every_moment(mesh: LocalMesh, tmp_path):
    code, _, err = await vmesh(
        "generate", "an icon of a red apple", "--seed", "7", *QUICK, "-o", str(tmp_path), home=mesh.home
    )
    assert code == 0
    labels = [
        "queued",
        "checked",
        "enhanced",
        "routed",
        "drawn",
        "enlarged",
        "inspected",
        "picture",
        "scored",
        "done",
    ]
    places = [err.index(f" {label} ") for label in labels]
    assert places == sorted(places), err
    assert "because" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("",), 3, "PROMPT"),
        (("a red apple", "--width", "7", "--height", "256"), 3, "--width"),
        (("a red apple", "--steps", "0"), 3, "--steps"),
        (("a red apple", "-n", "1000"), 3, "-n"),
        (("a red apple", "--guidance", "nan"), 3, "--guidance"),
        (("a red apple", "--style", "watercolr"), 3, "watercolor"),
        (("a red apple", "--quality", "hihg"), 3, "high"),
        (("a naked child",), 6, "minors"),
        (("a red apple", "--timeout", "0.001"), 9, "--timeout"),
        (("a red apple", "--steps", "many"), 2, "steps"),
    ],
    ids=lambda value: value[-1][:12] if isinstance(value, tuple) else None,
)
async def test_errors_are_one_panel_and_an_exit_code(mesh: LocalMesh, tmp_path, arguments, code, said):
    returned, out, err = await vmesh("generate", *arguments, "-o", str(tmp_path), home=mesh.home)
    assert returned == code, err
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.png"))


async def test_ctrl_c_stops_the_drawing(mesh: LocalMesh, tmp_path):
    arguments = ("generate", "a red apple", "--steps", "100", "--size", "256x256", "-o", str(tmp_path))
    process = await start(*arguments, home=mesh.home)
    assert process.stderr
    while b"routed" not in await asyncio.wait_for(process.stderr.readline(), 30):
        pass
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130, err
    assert b"ancelled" in err
    assert not list(tmp_path.glob("*.png"))
    assert await seconds_until_idle(mesh.triton.pid) < 2


async def test_generate_starts_a_mesh_of_its_own_and_leaves_nothing_behind(model_repository, tmp_path):
    home = home_with_models(tmp_path / "home", model_repository)
    code, out, err = await vmesh("generate", "a red apple", *QUICK, "-o", str(tmp_path), "--json", home=home)
    assert code == 0, err
    assert [file.name for file in tmp_path.glob("a-red-apple-*.png")] == [
        Path(json.loads(out)["files"][0]["path"]).name
    ]
    assert running.read(home) is None
    assert not _processes_of(home)


async def test_up_serves_says_where_and_ends_on_sigterm(model_repository, tmp_path):
    home = home_with_models(tmp_path / "home", model_repository)
    code, out, err = await vmesh("up", "--detach", "--listen", "127.0.0.1:0", home=home)
    assert code == 0, out + err
    mesh = running.read(home)
    assert mesh
    assert await running.health(mesh.gateway)
    code, out, _ = await vmesh("up", "--detach", home=home)
    assert code == 1
    assert "already runs" in out
    os.kill(mesh.pid, signal.SIGTERM)
    for _ in range(200):
        if running.read(home) is None and not _processes_of(home):
            break
        await asyncio.sleep(0.1)
    assert running.read(home) is None
    assert not (home / "mesh.json").exists()
    assert not _processes_of(home), "Triton and its guard end with their parent"


async def test_doctor_finds_nothing_missing_here(model_repository, mesh: LocalMesh):
    code, out, err = await vmesh("doctor", "--json", home=model_repository.parent)
    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 0, [f for f in findings.values() if f["verdict"] != "fine"]
    assert err == ""
    assert {"python", "packages", "triton", "libraries", "memory", "disk"} <= set(findings)


async def test_doctor_names_what_is_missing_and_the_command_that_mends_it(tmp_path):
    code, out, _ = await vmesh("doctor", "--json", home=tmp_path)
    assert code == 1
    (finding,) = [f for f in json.loads(out) if f["name"] == "model text_to_image_house"]
    assert finding["verdict"] == "missing"
    assert finding["remedy"] == "vmesh models build text_to_image_house"


def _changed(file: Path) -> Path:
    """Return a copy of a picture that somebody wrote into."""
    changed = file.with_name("changed.png")
    changed.write_bytes(png.with_text(file.read_bytes(), {"note": "drawn by hand"}))
    return changed


def _processes_of(home: Path) -> list[str]:
    """Return the command lines that name a mesh's folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(home) in command:
                found.append(command)
    return found
