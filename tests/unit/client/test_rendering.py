"""What a terminal shows: pictures, lines, options, file names."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from scrollintel.visual import events, exceptions
from scrollintel.visual.cli import failures, files, png, preview, wording
from scrollintel.visual.cli.timeline import Timeline
from tests.unit.client.scripted import PNG, whole_life


def console(**options: object) -> Console:
    return Console(file=io.StringIO(), width=100, **options)


async def nothing(_: str) -> bytes:
    return b""


def read_all() -> list[events.Event]:
    return [events.read(message, nothing) for message in whole_life()]


def test_a_picture_is_half_blocks_of_its_own_colours():
    (line,) = preview.half_blocks(png.decode(PNG))
    assert line.plain == "▀▀"
    styles = [(span.style.color.triplet, span.style.bgcolor.triplet) for span in line.spans]
    assert styles == [((255, 0, 0), (0, 0, 255)), ((0, 255, 0), (255, 255, 255))]


def test_a_larger_picture_is_averaged_to_its_columns():
    lines = preview.half_blocks(png.Pixels(64, 64, 3, bytes([10, 20, 30]) * 64 * 64))
    assert [len(line.plain) for line in lines] == [32] * 16
    assert {span.style.color.triplet for line in lines for span in line.spans} == {(10, 20, 30)}


def test_pictures_stand_side_by_side_as_far_as_there_is_room():
    picture = preview.half_blocks(png.Pixels(64, 64, 3, bytes(64 * 64 * 3)))
    text = preview.side_by_side(dict.fromkeys(range(4), picture), width=70)
    assert {len(line) for line in text.plain.split("\n")} == {32 + 2 + 32}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"force_terminal": True, "color_system": "truecolor"}, True),
        ({"force_terminal": True, "color_system": "256"}, True),
        ({"force_terminal": True, "color_system": "standard"}, False),
        ({"force_terminal": True, "no_color": True, "color_system": None}, False),
        ({"force_terminal": False}, False),
    ],
)
def test_previews_want_a_terminal_with_colours(options, shown):
    assert preview.can_show(console(**options)) is shown


def test_every_event_but_previews_and_unfinished_steps_has_a_line():
    silent = [type(event) for event in read_all() if wording.line(event) is None]
    assert silent == [events.Step, events.Preview]


def test_markup_in_a_prompt_is_shown_and_not_obeyed():
    message = whole_life()[2]
    message.prompt_enhanced.enhanced = "a [red]fox[/red] [/]"
    target = console()
    with Timeline(target, previews=False) as timeline:
        timeline.show(events.read(message, nothing))
    assert "a [red]fox[/red] [/]" in target.file.getvalue()


def test_the_live_part_shows_bar_and_preview_and_leaves_nothing():
    target = console(force_terminal=True, color_system="truecolor")
    with Timeline(target, previews=True) as timeline:
        for event in read_all():
            timeline.show(event)
            if isinstance(event, events.Preview):
                target.print(timeline._under_way())
    shown = target.file.getvalue()
    assert "1/2" in shown
    assert "▀" in shown
    assert shown.count("\n") < 200


def test_a_preview_that_cannot_be_read_is_left_out():
    message = whole_life()[5]
    message.preview.image = b"not a picture"
    target = console(force_terminal=True, color_system="truecolor")
    with Timeline(target, previews=True) as timeline:
        timeline.show(events.read(message, nothing))
    assert "▀" not in target.file.getvalue()


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("spec.image.width", "--width"),
        ("spec.image.aspect_ratio", "--aspect-ratio"),
        ("spec.image.num_images", "-n"),
        ("spec.image.guidance_scale", "--guidance"),
        ("spec.image.prompt", "PROMPT"),
        ("spec.image", ""),
        ("", ""),
    ],
)
def test_fields_are_told_by_their_option(field, option):
    assert failures.option_of(field) == option


def test_each_kind_of_error_has_its_own_exit_code():
    assert len(set(failures.EXIT_CODES.values())) == len(failures.EXIT_CODES)
    assert (
        failures.exit_code(exceptions.MediaError("x")) == failures.exit_code(exceptions.PromptError("x")) == 3
    )
    assert failures.exit_code(exceptions.InternalError("x")) == 1


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("A smiling cat!", "a-smiling-cat"),
        ("../../etc/passwd", "etc-passwd"),
        ("¿?", "picture"),
        ("улыбка кота", "улыбка-кота"),
        ("word " * 40, "word-word-word-word-word-word-word-word-word"),
        ("x" * 500, "x" * 48),
    ],
)
def test_a_prompt_makes_a_short_safe_file_name(prompt, stem):
    assert files.slug(prompt) == stem


def test_a_folder_a_file_and_several_files():
    assert files.target(Path("out"), "a cat", 7, 0, 1) == (Path("out/a-cat-7.png"), False)
    assert files.target(Path("cat.png"), "a cat", 7, 0, 1) == (Path("cat.png"), True)
    assert files.target(Path("cat.png"), "a cat", 9, 2, 4) == (Path("cat-3.png"), True)


def test_the_file_says_nothing_that_differs_from_run_to_run():
    told = files.described(
        {"prompt": "a cat", "seed": "7", "generation_id": "g1", "backend": "b", "style": ""}
    )
    assert set(told) == {"prompt", "seed", "software"}


def test_a_picture_never_replaces_another_one(tmp_path):
    path = tmp_path / "a-cat-7.png"
    assert files._write(path, b"one", replace=False) == path
    assert files._write(path, b"two", replace=False) == tmp_path / "a-cat-7-2.png"
    assert files._write(path, b"one", replace=False) == path
    assert path.read_bytes() == b"one"
    assert files._write(path, b"two", replace=True) == path
    assert path.read_bytes() == b"two"
