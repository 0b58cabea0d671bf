"""What a provider made is fetched from public addresses alone, whole, of a known kind, and never more than asked."""

import socket

import httpx
import pytest

from router import downloads
from router.downloads import download, is_local
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from tests.contract.providers.http_server import DROPPED, PAGE, Answer, HttpServer

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(100)
LIMIT = 1000
FAILED, UNAVAILABLE = errors_pb2.ERROR_REASON_MODEL_FAILED, errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.001)


@pytest.fixture
def server():
    with HttpServer(lambda _: Answer(body=PNG, media_type="text/plain")) as server:
        yield server


async def fetch(url: str, *, api: str = "http://localhost:1", timeout: float = 5.0) -> tuple[bytes, str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await download(client, url, LIMIT, timeout, api=api)


async def refusal(url: str, **options: object) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await fetch(url, **options)
    assert "127.0.0.1" not in caught.value.message  # addresses are internals
    return caught.value


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (MP4, "video/mp4"),
        (b"\x1a\x45\xdf\xa3" + bytes(8) + b"\x42\x82\x84webm" + bytes(9), "video/webm"),
    ],
)
async def test_the_bytes_say_what_it_is_whatever_the_header_says(server, data, media_type):
    server.fault("GET", "/", Answer(body=data, media_type="text/html"))
    assert await fetch(server.url) == (data, media_type)


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", b"RIFF\x00\x00\x00\x00WAVE", b"\x00\x00\x00\x20ftypavif", b"\x1a\x45\xdf\xa3matroska"],
)
async def test_what_is_neither_picture_nor_video_is_refused(server, data):
    server.fault("GET", "/", Answer(body=data, media_type="image/png"))
    error = await refusal(server.url)
    assert (error.reason, "neither a picture nor a video" in error.message) == (FAILED, True)


async def test_a_web_page_is_no_picture(server):
    server.fault("GET", "/", PAGE)
    assert (await refusal(server.url)).reason == FAILED


@pytest.mark.parametrize("fault", [Answer(body=PNG, cut=40), DROPPED, Answer(503), Answer(429)])
async def test_a_file_that_did_not_come_is_asked_for_again(server, fault):
    server.fault("GET", "/", fault)
    assert await fetch(server.url) == (PNG, "image/png")
    assert server.count("GET") == 2


async def test_one_that_never_comes_whole_is_given_up_after_three(server):
    server.fault("GET", "/", *[Answer(body=PNG, cut=40)] * 3)
    assert (await refusal(server.url)).reason == UNAVAILABLE
    assert server.count("GET") == 3


async def test_nothing_is_read_beyond_the_limit_neither_promised_nor_sent(server):
    server.fault("GET", "/", Answer(body=PNG + bytes(LIMIT)))
    error = await refusal(server.url)
    assert (error.reason, "too large" in error.message) == (FAILED, True)
    assert server.count("GET") == 1


async def test_a_file_that_is_not_there_is_not_asked_for_again(server):
    server.fault("GET", "/", Answer(404))
    assert (await refusal(server.url)).reason == FAILED
    assert server.count("GET") == 1


async def test_a_slow_server_is_given_up_at_the_deadline(server):
    server.fault("GET", "/", Answer(body=PNG, delay=0.5))
    assert (await refusal(server.url, timeout=0.1)).reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED


async def test_redirects_are_followed_and_counted(server):
    hop = Answer(302, headers={"Location": "/next?x=1"})
    server.fault("GET", "/", hop)
    assert (await fetch(server.url))[1] == "image/png"
    assert [(one.path, one.query) for one in server.requests] == [("/", {}), ("/next", {"x": "1"})]
    server.fault("GET", "/", *[hop] * 4)
    assert "redirected too often" in (await refusal(server.url)).message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",  # this machine, which a provider that is not here has no business with
        "https://127.0.0.1:1/",
        "https://localhost:1/",
        "https://[::1]:1/",
        "https://[::ffff:127.0.0.1]:1/",
        "https://0.0.0.0:1/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://[::7f00:1]/",  # 127.0.0.1 in other words, as the next four
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[::ffff:0:7f00:1]/",
        "https://[2002:7f00:1::]/",
        f"https://{'a' * 64}.example/",
        "https://224.0.0.1/",
        "http://8.8.8.8/",  # public, and not by https
        "https://user:secret@8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "/relative",
        "",
    ],
)
async def test_other_addresses_are_never_asked(url):
    assert (await refusal(url, api="")).reason == FAILED


async def test_a_redirect_into_our_own_network_is_not_followed(server):
    server.fault("GET", "/", Answer(302, headers={"Location": "http://10.0.0.1/secret"}))
    assert "not public" in (await refusal(server.url)).message


async def test_a_name_is_asked_once_and_the_address_that_was_looked_at_is_used(server, monkeypatch):
    answers = ["127.0.0.1", "10.0.0.1"]
    asked = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[len(asked) - 1], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    port = server.url.rpartition(":")[2]
    assert (await fetch(f"http://files.example:{port}/a"))[1] == "image/png"
    assert asked == ["files.example"]
    assert server.requests[0].headers["host"] == f"files.example:{port}"


async def test_an_address_of_the_public_network_may_be_written_for_networks_without_ipv4():
    for address in ("64:ff9b::808:808", "2606:4700:4700::1111", "8.8.8.8"):
        assert downloads._is_public(downloads._parsed(address))


async def test_no_connection_is_kept_for_another_name_at_the_same_address(server):
    server.fault("GET", "/", Answer(302, headers={"Location": "http://a]b/"}))
    assert "no usable address" in (await refusal(server.url)).message
    assert server.requests[0].headers["connection"] == "close"


async def test_a_provider_inside_our_own_network_hands_out_what_is_at_its_own_address_alone(
    server, monkeypatch
):
    port = server.url.rpartition(":")[2]
    inside, real = {"bridge.example": "127.0.0.1", "other.example": "127.0.0.1"}, socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real(inside[host], *rest, **more))
    api = f"http://bridge.example:{port}/api"
    assert (await fetch(f"http://bridge.example:{port}/file", api=api))[1] == "image/png"
    for other in (
        f"http://other.example:{port}/",
        "http://bridge.example/",
        f"https://bridge.example:{port}/",
    ):
        server.fault("GET", "/", Answer(302, headers={"Location": other}))
        error = await refusal(f"http://bridge.example:{port}/", api=api)
        assert "not public" in error.message


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://localhost.example.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_local(url, local):
    assert is_local(httpx.URL(url)) is local
