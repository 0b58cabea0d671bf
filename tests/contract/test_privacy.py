"""RedactPrompt over gRPC: pseudonyms out, originals only for who asks, and no text where it could not be read."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from scrollintel.visual import PromptError, VisualClient
from scrollintel.visual.cli.app import application
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.safety_pb2 import RedactPromptRequest
from services.runtime.server import serve
from services.safety.privacy import rpcs
from services.safety.privacy.pseudonyms import restore
from services.safety.service import spec
from services.safety.settings import Settings
from tests.contract.test_safety import error_of, safety

PROMPT = "a postcard to Anna Schmidt, anna.schmidt@example.org, card 4111 1111 1111 1111"


async def test_personal_data_is_replaced_and_named(tmp_path: Path) -> None:
    async with safety(tmp_path) as stub:
        answer = await stub.RedactPrompt(RedactPromptRequest(prompt=PROMPT), timeout=10)
    assert answer.prompt == "a postcard to <NAME_1>, <EMAIL_1>, card <CARD_1>"
    assert list(answer.entities) == ["NAME", "EMAIL", "CARD"]
    assert list(answer.checks) == ["privacy-rules/1"]
    assert not answer.originals


async def test_who_asks_can_put_the_originals_back(tmp_path: Path) -> None:
    async with safety(tmp_path) as stub:
        request = RedactPromptRequest(prompt=PROMPT, with_originals=True)
        answer = await stub.RedactPrompt(request, timeout=10)
    assert answer.originals["<CARD_1>"] == "4111 1111 1111 1111"
    assert restore(answer.prompt, answer.originals) == PROMPT


async def test_each_request_numbers_anew(tmp_path: Path) -> None:
    async with safety(tmp_path) as stub:
        for mail in ("one@example.org", "two@example.org"):
            answer = await stub.RedactPrompt(RedactPromptRequest(prompt=f"to {mail}"), timeout=10)
            assert answer.prompt == "to <EMAIL_1>"


async def test_a_text_that_could_not_be_read_is_not_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ValueError(PROMPT)

    async with safety(tmp_path) as stub:
        monkeypatch.setattr(rpcs, "shipped", broken)
        error = await error_of(stub.RedactPrompt(RedactPromptRequest(prompt=PROMPT), timeout=10))
    assert error.reason == errors_pb2.ERROR_REASON_SAFETY_UNCHECKED
    assert "anna" not in f"{error.message}{capsys.readouterr()}".lower()


async def test_the_client_and_the_command_line_redact(tmp_path: Path) -> None:
    settings = Settings.model_validate({"home": tmp_path, "triton_address": "127.0.0.1:1"})
    async with serve(spec(settings)) as server, VisualClient(server.address) as client:
        told = await client.redact(PROMPT, with_originals=True)
        with pytest.raises(PromptError):
            await client.redact("")

        def vmesh(*given: str, said: str = "") -> Result:
            words = ["redact", *given, "--address", server.address]
            return CliRunner().invoke(application(), words, input=said)

        plain = await asyncio.to_thread(vmesh, PROMPT)
        piped = await asyncio.to_thread(vmesh, "-", "--originals", said=f"{PROMPT}\n")
        as_json = await asyncio.to_thread(vmesh, PROMPT, "--json")
        empty = await asyncio.to_thread(vmesh, "")
    assert told.text == "a postcard to <NAME_1>, <EMAIL_1>, card <CARD_1>"
    assert told.kinds == ("NAME", "EMAIL", "CARD")
    assert told.originals["<NAME_1>"] == "Anna Schmidt"
    assert (plain.stdout, plain.stderr, plain.exit_code) == (f"{told.text}\n", "", 0)
    assert (piped.stdout, piped.exit_code) == (plain.stdout, 0)
    assert "<NAME_1> Anna Schmidt\n" in piped.stderr
    assert json.loads(as_json.stdout) == {
        "text": told.text, "kinds": list(told.kinds), "checks": list(told.checks), "originals": {},
    }  # fmt: skip
    assert empty.exit_code == 3
