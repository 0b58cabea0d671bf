"""`vmesh enhance` against a scripted server: the order of operations, where results go, what ends how."""

import asyncio
import hashlib
import io
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from rich.console import Console

from scrollintel.visual import Deblur, Denoise, PromptError, RestoreFaces, Upscale
from scrollintel.visual.cli import enhance as command
from scrollintel.visual.cli.interrupts import Interrupts
from scrollintel.visual.cli.progress import Progress
from scrollintel.visual.cli.timeline import Timeline
from scrollintel.visual.events import Queued, Stage, Step
from tests.unit.client.scripted import PNG, Script, playing, status, whole_life
from tests.unit.client.test_cli import start, vmesh

DIGEST = hashlib.sha256(PNG).hexdigest()


def chosen(**options: object) -> tuple[object, ...]:
    given = {
        "upscale": None,
        "variant": None,
        "denoise": False,
        "deblur": False,
        "restore_faces": False,
        "fidelity": None,
    }
    return command._operations(**given | options)  # type: ignore[arg-type]


def test_the_order_is_the_one_that_is_best_whatever_was_written_first() -> None:
    everything = chosen(
        restore_faces=True, fidelity=0.5, upscale=2, variant="x4plus", deblur=True, denoise=True
    )
    assert everything == (
        Denoise(),
        Deblur(),
        Upscale(factor=2, variant="x4plus"),
        RestoreFaces(fidelity=0.5),
    )
    assert chosen(upscale=4) == (Upscale(factor=4),)


@pytest.mark.parametrize(
    ("options", "field", "rule"),
    [
        ({}, "operations", "at least one"),
        ({"denoise": True, "variant": "x4plus"}, "variant", "--upscale"),
        ({"denoise": True, "fidelity": 0.5}, "fidelity", "--restore-faces"),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, object], field: str, rule: str) -> None:
    with pytest.raises(PromptError, match=rule) as caught:
        chosen(**options)
    assert caught.value.field == field


def test_a_result_goes_beside_its_picture_or_where_it_is_told(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    assert command._target(photo, None) == (tmp_path / "photo-enhanced.png", False)
    assert command._target(photo, tmp_path / "out") == (tmp_path / "out" / "photo-enhanced.png", False)
    assert command._target(photo, tmp_path / "new.png") == (tmp_path / "new.png", True)


def test_the_picture_itself_is_never_replaced_and_one_file_holds_one_picture(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    (tmp_path / "link.png").symlink_to(photo)
    for output in (photo, tmp_path / "link.png"):
        with pytest.raises(PromptError, match="the picture itself"):
            command._check_output(output, [photo])
    with pytest.raises(PromptError, match="name a folder"):
        command._check_output(tmp_path / "new.png", [photo, photo])
    command._check_output(tmp_path / "new.png", [photo])
    command._check_output(None, [photo, photo])
    command._check_output(
        photo.rename(tmp_path / "there.png"), [tmp_path / "missing.png"]
    )  # told of when it is read


def test_a_picture_of_another_kind_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    for name in ("new.jpg", "new.JPEG", "new.webp"):
        with pytest.raises(PromptError, match=r"ending in \.png, or a folder"):
            command._check_output(tmp_path / name, [tmp_path / "photo.jpg"])
    (tmp_path / "new.jpg").mkdir()
    command._check_output(tmp_path / "new.jpg", [tmp_path / "photo.jpg"])


def test_a_line_for_each_operation_when_it_ends() -> None:
    out = io.StringIO()
    timeline = Timeline(Console(file=out, width=100), previews=False)
    progress = Progress((Denoise(), Upscale(factor=4), RestoreFaces()), timeline, time.monotonic())
    where = {"generation_id": "g", "sequence": 1, "time": datetime.now(UTC)}
    progress.hear(Queued(position=0, eta=0, **where))
    for stage, k, n, note in (
        (Stage.DENOISE, 1, 1, ""),
        (Stage.UPSCALE, 1, 2, ""),
        (Stage.UPSCALE, 2, 2, ""),
        (Stage.RESTORE_FACES, 1, 1, "no face found"),
        (Stage.CHECK, 1, 1, ""),
    ):
        progress.hear(Step(stage=stage, k=k, n=n, note=note, **where))
    told = [line.split(maxsplit=2)[2] for line in out.getvalue().splitlines()]
    assert [line.split()[0] for line in told] == ["denoised", "enlarged", "faces"]
    assert "× 4 by compact" in told[1]
    assert "no face found" in told[2]


async def test_one_file_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    good, bad, gone = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "gone.png"
    good.write_bytes(PNG)
    bad.write_bytes(b"not a picture")
    script = Script(whole_life(digest=DIGEST))
    async with playing(script) as address:
        files = [str(path) for path in (bad, gone, good)]
        code, out, err = await vmesh("enhance", *files, "--denoise", "--address", address, home=tmp_path)
        assert code == 1
        again = await vmesh("enhance", *files, "--denoise", "--address", address, home=tmp_path)
    assert out == again[1] == f"{tmp_path / 'good-enhanced.png'}\n"
    assert "bad.png is no PNG" in err
    assert "gone.png" in err
    assert good.read_bytes() == PNG
    assert PNG in script.requests


async def test_a_single_failure_gives_its_own_code_and_says_what_to_do(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    words = "face_restoration_gfpgan is needed: vmesh models build face_restoration_gfpgan --weights FILE"
    refusal = status(grpc.StatusCode.UNAVAILABLE, words, "MODEL_NEEDS_WEIGHTS")
    async with playing(Script(refusal=refusal)) as address:
        code, out, err = await vmesh(
            "enhance", str(photo), "--restore-faces", "--address", address, home=tmp_path
        )
        told = await vmesh(
            "enhance", str(photo), "--restore-faces", "--json", "--address", address, home=tmp_path
        )
    assert (code, out) == (4, "")
    assert "vmesh models build face_restoration_gfpgan" in err
    assert told[0] == 4
    (file,) = json.loads(told[1])["files"]
    assert file["error"]["reason"] == "MODEL_NEEDS_WEIGHTS"
    assert not (tmp_path / "photo-enhanced.png").exists()


async def test_interrupting_stops_the_work(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    script = Script(whole_life(digest=DIGEST)[:1], hangs=True)
    async with playing(script) as address:
        process = await start("enhance", str(photo), "--deblur", "--address", address, home=tmp_path)
        await asyncio.wait_for(script.called.wait(), 30)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)
        assert script.cancelled.is_set()
    assert process.returncode == 130


class Ended:
    """A generation that ended before it heard that it was to stop."""

    async def cancel(self) -> None:
        pass


async def test_between_two_pictures_an_interrupt_leaves() -> None:
    quiet: Any = Timeline(Console(file=io.StringIO()), previews=False)
    ended: Any = Ended()

    async def between() -> None:
        with Interrupts() as interrupts:
            interrupts.stop(ended, quiet)
            interrupts.forget()
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(5)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(between())


async def test_an_interrupt_that_came_too_late_for_its_picture_keeps_the_next_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    begun: list[Path] = []

    async def restore(source: Path, job: Any, client: Any, timeline: Any, interrupts: Interrupts) -> Any:
        begun.append(source)
        ended: Any = Ended()
        interrupts.stop(ended, timeline)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.1)
        interrupts.forget()
        return command.Done(source, 0.1, error=OSError("not written"))

    monkeypatch.setattr(command, "_restore", restore)
    async with playing(Script()) as address:
        job = command.Job((one, two), (Denoise(),), None, address, tmp_path, 1.0, as_json=False)
        done = await command._run(job, Console(file=io.StringIO()))
    assert begun == [one]
    assert command._exit_code(done, 2) == 130
    assert command._exit_code(done, 1) == 1
