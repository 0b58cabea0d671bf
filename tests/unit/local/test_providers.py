"""The list of paid models: what is configured, what is missing, what it costs, what ends; with no mesh running."""

import io
import json
from datetime import date

import pytest
from pydantic import SecretStr
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from router.settings import PROVIDERS_FILE, ProviderSettings
from services.local import commands
from services.local.providers import CONFIGURED, MISSING, NEEDS_PRICE, SHUT_DOWN, listed, run, show

TODAY = date(2026, 11, 23)
KEY = "sk-nobody-may-see-this"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("OPENAI", "RUNWAY", "PIKA", "MIDJOURNEY"):
        monkeypatch.delenv(f"VMESH_ROUTER_{name}_API_KEY", raising=False)
        monkeypatch.delenv(f"VMESH_ROUTER_{name}_URL", raising=False)
    monkeypatch.delenv("VMESH_ROUTER_PROVIDERS_FILE", raising=False)


def rows(**settings: object):
    return {row.name: row for row in listed(ProviderSettings(**settings), TODAY)}


def printed(*, width: int = 140, ansi: bool = False, **settings: object) -> str:
    out = io.StringIO()
    show(
        Console(file=out, width=width, force_terminal=ansi, color_system="standard"),
        list(rows(**settings).values()),
    )
    return out.getvalue()


def test_what_is_missing_is_named_and_what_is_set_is_not():
    found = rows(openai_api_key=SecretStr(KEY))
    assert found["openai/gpt-image-2"].state == CONFIGURED
    assert found["openai/gpt-image-2"].missing == []
    assert (found["runway/gen4.5"].state, found["runway/gen4.5"].missing) == (
        MISSING,
        ["VMESH_ROUTER_RUNWAY_API_KEY"],
    )
    assert found["openai/gpt-image-2.6-flare"].state == NEEDS_PRICE
    assert found["openai/dall-e-3"].state == SHUT_DOWN


def test_days_are_counted_to_the_end():
    found = rows()
    assert (found["openai/gpt-image-1.5"].retires, found["openai/gpt-image-1.5"].days_left) == (
        "2026-12-01",
        8,
    )
    assert found["openai/dall-e-3"].days_left == -195
    assert found["openai/gpt-image-2"].days_left is None


def test_the_table_tells_prices_limits_and_ends():
    lines = {line.split()[0]: line for line in printed().splitlines() if "/" in line.split(" ")[0]}
    assert "$0.005–0.211/image" in lines["openai/gpt-image-2"]
    assert "10 images, 3 sizes, edits" in lines["openai/gpt-image-2"]
    assert "2 to 10 s, 2 sizes, edits" in lines["runway/gen4.5"]
    assert "$0.12/second" in lines["runway/gen4.5"]
    assert "2026-12-01, in 8 days" in lines["openai/gpt-image-1.5"]
    assert "unknown" in lines["midjourney/midjourney"]


def test_what_ends_soon_is_red_and_what_ended_is_grey():
    lines = printed(ansi=True).splitlines()
    dying = next(line for line in lines if "gpt-image-1.5" in line)
    dead = next(line for line in lines if "dall-e-3" in line)
    alive = next(line for line in lines if "gpt-image-2 " in line)
    assert "\x1b[31m2026-12-01" in dying
    assert "\x1b[90m" in dead
    assert "\x1b[31m" not in alive + dead


def test_what_has_to_be_set_is_told_below():
    assert "VMESH_ROUTER_OPENAI_API_KEY" in printed()
    assert "VMESH_ROUTER_OPENAI_API_KEY" not in printed(openai_api_key=SecretStr(KEY))


def test_a_narrow_terminal_goes_without_the_limits_and_folds_no_date():
    narrow = printed(width=95)
    assert "sizes" not in narrow
    assert "2026-12-01, in 8 days" in narrow


@pytest.mark.parametrize("width", [20, 60, 80])
def test_no_terminal_is_so_narrow_that_a_price_or_a_name_is_cut_off(width):
    narrow = Text.from_ansi(printed(width=width)).plain
    for told in ("openai/gpt-image-2.6-sunburst", "$0.006–0.053/image", "needs a price", "2026-12-01"):
        assert told in narrow
    assert width < 80 or max(map(len, narrow.splitlines()[:16])) <= width


def test_the_command_prints_json_and_no_key(monkeypatch, capsys):
    monkeypatch.setenv("VMESH_ROUTER_OPENAI_API_KEY", KEY)
    assert run(as_json=True) == 0
    told = capsys.readouterr().out
    assert KEY not in told
    mine = next(one for one in json.loads(told) if one["name"] == "openai/gpt-image-2")
    assert (mine["least_usd"], mine["most_usd"], mine["unit"]) == (0.005, 0.211, "image")
    assert run(as_json=False) == 0
    assert KEY not in capsys.readouterr().out


def test_a_wrong_file_is_told_with_its_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(PROVIDERS_FILE.read_text().replace("usd: 0.12", "usd: -1", 1))
    monkeypatch.setenv("VMESH_ROUTER_PROVIDERS_FILE", str(path))
    assert run(as_json=False) == 1
    assert "greater than or equal to 0" in capsys.readouterr().err


def test_it_is_a_command_of_the_cli():
    import typer

    app = typer.Typer()
    app.command()(commands.providers)
    result = CliRunner().invoke(app, ["--json"])
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)) == len(rows())
