"""The command line as a process of its own, against a scripted server."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from scrollintel.visual.cli import png
from scrollintel.visual.v1 import errors_pb2, safety_finding_pb2
from tests.unit.client.scripted import PNG, Script, playing, status, whole_life

DIGEST = hashlib.sha256(PNG).hexdigest()


async def start(*arguments: str, home: Path) -> asyncio.subprocess.Process:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VMESH_")} | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "VMESH_HOME": str(home),
        "COLUMNS": "120",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scrollintel.visual.cli",
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def vmesh(*arguments: str, home: Path) -> tuple[int, str, str]:
    process = await start(*arguments, home=home)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_generate_tells_the_timeline_and_writes_the_same_file_twice(tmp_path):
    async with playing(Script(whole_life(digest=DIGEST))) as address:
        arguments = ("generate", "A smiling cat!", "--address", address, "-o", str(tmp_path / "out"))
        code, out, err = await vmesh(*arguments, home=tmp_path)
        assert code == 0, err
        again = await vmesh(*arguments, home=tmp_path)
    labels = ["queued", "checked", "enhanced", "routed", "fell back", "drawn", "picture", "scored", "done"]
    positions = [err.index(label) for label in labels]
    assert positions == sorted(positions), err
    assert "passed over" in err
    assert "it needs weights" in err
    assert "sharpness 0.00" in err
    assert out == again[1] == f"{tmp_path / 'out' / 'a-smiling-cat-7.png'}\n", (
        "an equal file is not written twice"
    )
    written = (tmp_path / "out" / "a-smiling-cat-7.png").read_bytes()
    text = png.text_of(written)
    assert text == {
        "prompt": "a cat",
        "model": "text_to_image_house",
        "seed": "7",
        "software": text["software"],
    }


async def test_generate_as_json(tmp_path):
    async with playing(Script(whole_life(digest=DIGEST))) as address:
        file = tmp_path / "cat.png"
        code, out, err = await vmesh(
            "generate", "a cat", "--json", "--address", address, "-o", str(file), home=tmp_path
        )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["files"][0]["path"] == str(file)
    assert told["files"][0]["quality"] == {"overall": 0.75, "sharpness": 0.0}
    assert file.exists()


WAIT = Duration(seconds=2)
BAD = error_details_pb2.BadRequest(
    field_violations=[
        error_details_pb2.BadRequest.FieldViolation(field="spec.image.num_images", description="≤ 16")
    ]
)
FINDING = safety_finding_pb2.SafetyFinding(
    category=safety_finding_pb2.SAFETY_CATEGORY_HATE,
    severity=6,
    action=safety_finding_pb2.SAFETY_ACTION_BLOCK,
)
REFUSALS = [
    ("INVALID_ARGUMENT", "FIELD_INVALID", [BAD], 3, ["-n", "≤ 16"]),
    (
        "INVALID_ARGUMENT",
        "STYLE_UNKNOWN",
        [errors_pb2.PromptErrorDetail(suggestions=["watercolor"])],
        3,
        ["did you mean watercolor?"],
    ),
    (
        "UNAVAILABLE",
        "MODEL_UNAVAILABLE",
        [
            error_details_pb2.RetryInfo(retry_delay=WAIT),
            errors_pb2.ModelErrorDetail(alternative_models=["b"]),
        ],
        4,
        ["try again in 2 s", "--model b"],
    ),
    (
        "RESOURCE_EXHAUSTED",
        "OVERLOADED",
        [error_details_pb2.RetryInfo(retry_delay=WAIT)],
        5,
        ["try again in 2 s"],
    ),
    (
        "FAILED_PRECONDITION",
        "PROMPT_UNSAFE",
        [errors_pb2.SafetyErrorDetail(findings=[FINDING], policy_link="docs/05-safety.md")],
        6,
        ["hate, severity 6 of 7", "docs/05-safety.md"],
    ),
    ("INTERNAL", "INTERNAL", [], 1, ["The mesh failed"]),
]


@pytest.mark.parametrize(
    ("code", "reason", "details", "expected", "said"), REFUSALS, ids=[r[1] for r in REFUSALS]
)
async def test_an_error_is_one_panel_and_an_exit_code(tmp_path, code, reason, details, expected, said):
    refusal = status(getattr(grpc.StatusCode, code), "in words", reason, *details)
    async with playing(Script(refusal=refusal)) as address:
        exit_code, out, err = await vmesh("generate", "a cat", "--address", address, home=tmp_path)
    assert (exit_code, out) == (expected, "")
    for words in (*said, reason):
        assert words in err
    assert "Traceback" not in err
    assert err.count("╭") == 1


async def test_what_protobuf_would_refuse_is_a_panel_too(tmp_path):
    async with playing(Script()) as address:
        code, _, err = await vmesh(
            "generate", "a cat", "--steps", str(10**12), "--address", address, home=tmp_path
        )
    assert code == 3
    assert "--steps" in err
    assert "Traceback" not in err


async def test_an_error_as_json(tmp_path):
    code, out, _ = await vmesh("generate", "a cat", "--size", "wide", "--json", home=tmp_path)
    assert code == 3
    assert json.loads(out)["error"]["field"] == "size"


async def test_ctrl_c_cancels_and_says_so(tmp_path):
    script = Script(whole_life()[:5], hangs=True)
    async with playing(script) as address:
        process = await start("generate", "a cat", "--address", address, home=tmp_path)
        assert process.stderr
        while b"routed" not in await asyncio.wait_for(process.stderr.readline(), 30):
            pass
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130
    assert script.cancelled.is_set()
    assert b"cancelled" in err.lower()
    assert b"Traceback" not in err


async def test_no_mesh_is_said_with_what_to_do(tmp_path):
    for command in ("status", "services"):
        code, _, err = await vmesh(command, "--address", "127.0.0.1:1", home=tmp_path)
        assert code == 8
        assert "vmesh up" in err


async def test_rate_tells_what_was_thought_and_refuses_what_is_no_rating(tmp_path):
    script = Script()
    async with playing(script) as address:
        code, out, err = await vmesh("rate", "gen-1", "4", "--address", address, home=tmp_path)
        assert (code, out) == (0, "")
        assert "★★★★☆" in err
        assert (script.requests[0].generation_id, script.requests[0].rating) == ("gen-1", 4)
        bad = error_details_pb2.BadRequest.FieldViolation(field="rating", description="1 to 5")
        script.refusal = status(
            grpc.StatusCode.INVALID_ARGUMENT,
            "rating: 1 to 5",
            "FIELD_INVALID",
            error_details_pb2.BadRequest(field_violations=[bad]),
        )
        code, _, err = await vmesh("rate", "gen-1", "9", "--address", address, home=tmp_path)
    assert code == 3
    assert "RATING" in err
