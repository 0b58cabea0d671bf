"""AssetService through a real server: what is stored, what is refused, what is left behind."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from scrollintel.visual.v1 import assets_pb2 as pb
from scrollintel.visual.v1 import assets_pb2_grpc, errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.quality_pb2 import QualityMetrics, Score
from services.assets.service import spec
from services.assets.settings import Settings
from services.runtime import identity
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve

MEBIBYTE = 1 << 20


def picture(seed: int = 0, size: tuple[int, int] = (64, 48), form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def parts(
    data: bytes, media_type: str = "image/png", piece: int = MEBIBYTE, **header: object
) -> list[pb.UploadAssetRequest]:
    first = pb.UploadAssetRequest(header=pb.UploadHeader(media_type=media_type, **header))  # type: ignore[arg-type]
    return [first, *(pb.UploadAssetRequest(data=data[i : i + piece]) for i in range(0, len(data), piece))]


def stored_files(home: Path) -> list[Path]:
    return [path for path in (home / "blobs").rglob("*") if path.is_file()]


class Assets:
    """A running asset server, its client and its folder."""

    def __init__(self, channel: grpc.aio.Channel, home: Path) -> None:
        self.stub = assets_pb2_grpc.AssetServiceStub(channel)
        self.home = home
        self.blobs = BlobStore.open("", home)

    async def upload(self, messages: Iterable[pb.UploadAssetRequest]) -> pb.Asset:
        return (await self.stub.UploadAsset(iter(messages), timeout=20)).asset

    async def download(self, asset_id: str, offset: int = 0, limit: int = 0) -> list[bytes]:
        call = self.stub.DownloadAsset(
            pb.DownloadAssetRequest(id=asset_id, offset=offset, limit=limit), timeout=20
        )
        return [message.data async for message in call]

    async def create(self, asset_id: str, media: MediaRef, **fields: object) -> pb.Asset:
        request = pb.CreateAssetRequest(id=asset_id, media=media, **fields)  # type: ignore[arg-type]
        return (await self.stub.CreateAsset(request, timeout=20)).asset

    async def ids(self, size: int = 0) -> list[list[str]]:
        """Every page's ids."""
        pages, token = [], ""
        while True:
            page = await self.stub.ListAssets(
                pb.ListAssetsRequest(page_size=size, page_token=token), timeout=20
            )
            pages.append([asset.id for asset in page.assets])
            token = page.next_page_token
            if not token:
                return pages


@pytest.fixture
async def assets(tmp_path: Path) -> AsyncIterator[Assets]:
    settings = Settings(home=tmp_path, idle_seconds=0.5, uploads=1, uploads_waiting=1)
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield Assets(channel, tmp_path)


async def answer(call: "grpc.aio.StreamUnaryCall[pb.UploadAssetRequest, pb.UploadAssetResponse]") -> pb.Asset:
    return (await call).asset


async def refusal(call: object) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return MeshError.from_rpc(caught.value, "assets")


@pytest.mark.parametrize(
    ("form", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
async def test_an_upload_comes_back_byte_for_byte(assets: Assets, form: str, media_type: str) -> None:
    data = picture(form=form, size=(900, 700))
    digest = hashlib.sha256(data).hexdigest()
    asset = await assets.upload(
        parts(data, media_type, piece=100_000, sha256=digest, metadata={"prompt": "a cat"})
    )
    assert asset.media == MediaRef(
        uri=f"blob:{digest}",
        sha256=digest,
        media_type=media_type,
        size_bytes=len(data),
        width=900,
        height=700,
        frames=1,
    )
    assert dict(asset.metadata) == {"prompt": "a cat"}
    assert not asset.HasField("seed")
    assert not asset.HasField("quality")
    pieces = await assets.download(asset.id)
    assert b"".join(pieces) == data
    assert all(len(piece) <= MEBIBYTE for piece in pieces)
    assert (await assets.stub.GetAsset(pb.GetAssetRequest(id=asset.id))).asset == asset


async def test_a_range_is_what_it_says(assets: Assets) -> None:
    data = picture(size=(1200, 900))  # over 3 MiB of noise
    asset = await assets.upload(parts(data))
    assert [len(p) for p in await assets.download(asset.id, 5, 2 * MEBIBYTE + 1)] == [MEBIBYTE, MEBIBYTE, 1]
    assert b"".join(await assets.download(asset.id, 5, 2 * MEBIBYTE + 1)) == data[5 : 5 + 2 * MEBIBYTE + 1]
    assert b"".join(await assets.download(asset.id, len(data) - 3)) == data[-3:]
    assert await assets.download(asset.id, len(data)) == []
    error = await refusal(assets.download(asset.id, len(data) + 1))
    assert (error.reason, error.field) == (errors_pb2.ERROR_REASON_FIELD_INVALID, "offset")


GOOD = picture()


@pytest.mark.parametrize(
    ("messages", "reason", "words"),
    [
        (parts(GOOD, "image/jpeg"), "MEDIA_INVALID", "image/png"),
        (parts(GOOD, sha256="0" * 64), "MEDIA_INVALID", "SHA-256"),
        (parts(GOOD[: len(GOOD) // 2]), "MEDIA_INVALID", "damaged"),
        (parts(b"\x89PNG\r\n\x1a\n" + bytes(500)), "MEDIA_INVALID", "not a"),
        (parts(b"<svg/>"), "MEDIA_INVALID", "no accepted type"),
        (parts(b""), "MEDIA_INVALID", "no bytes"),
        (parts(picture(size=(600, 600))[:8] + bytes(MEBIBYTE - 8)) + [pb.UploadAssetRequest(data=bytes(MEBIBYTE))] * 64, "MEDIA_INVALID", "larger"),
        (parts(GOOD)[1:], "FIELD_INVALID", "header"),
        (parts(GOOD) + parts(GOOD)[:1], "FIELD_INVALID", "header"),
        ([], "FIELD_INVALID", "header"),
        (parts(GOOD, "image/gif"), "FIELD_INVALID", "media_type"),
        ([*parts(GOOD), pb.UploadAssetRequest(data=bytes(MEBIBYTE + 1))], "FIELD_INVALID", "data"),
    ],
    ids=["other-type", "digest", "cut", "broken", "svg", "empty", "too-large", "no-header", "two-headers", "nothing", "gif", "chunk"],
)  # fmt: skip
async def test_a_bad_upload_is_refused_and_leaves_nothing(
    assets: Assets, messages: list[pb.UploadAssetRequest], reason: str, words: str
) -> None:
    error = await refusal(assets.upload(messages))
    assert error.name == reason
    assert words in error.message
    assert error.field
    assert stored_files(assets.home) == []
    assert await assets.ids() == [[]]


async def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(assets: Assets) -> None:
    file = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(file, "PNG")  # 10 kB that would decode to 243 MB
    error = await refusal(assets.upload(parts(file.getvalue())))
    assert error.name == "MEDIA_INVALID"
    assert "megapixels" in error.message
    assert stored_files(assets.home) == []


async def test_an_aborted_upload_leaves_nothing_and_gives_up_its_place(assets: Assets) -> None:
    begun = asyncio.Event()

    async def half() -> AsyncIterator[pb.UploadAssetRequest]:
        for message in parts(GOOD, piece=1000)[:3]:
            yield message
        begun.set()
        await asyncio.sleep(60)

    call = assets.stub.UploadAsset(half())
    await asyncio.wait_for(begun.wait(), 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await assets.upload(parts(picture(1)))  # there is one place only
    assert len(stored_files(assets.home)) == 1


async def test_a_silent_upload_ends(assets: Assets) -> None:
    async def silent() -> AsyncIterator[pb.UploadAssetRequest]:
        yield parts(GOOD)[0]
        await asyncio.sleep(60)

    error = await refusal(assets.stub.UploadAsset(silent()))
    assert error.name == "DEADLINE_EXCEEDED"
    assert stored_files(assets.home) == []


async def test_uploads_beyond_the_queue_are_refused_at_once(assets: Assets) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[pb.UploadAssetRequest]:
        first, *rest = parts(GOOD)
        yield first
        await release.wait()
        for message in rest:
            yield message

    calls = [asyncio.ensure_future(answer(assets.stub.UploadAsset(slow()))) for _ in range(6)]
    for refused_call in islice(asyncio.as_completed(calls, timeout=10), 4):  # one runs, one waits
        with pytest.raises(grpc.aio.AioRpcError):
            await refused_call
    release.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    refused = [MeshError.from_rpc(end, "assets") for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert len(refused) == 4
    assert {error.name for error in refused} == {"OVERLOADED"}
    assert all(error.retry_after for error in refused)


async def test_the_same_bytes_lie_in_the_store_once_and_go_with_the_last_asset(assets: Assets) -> None:
    one, two = await assets.upload(parts(GOOD)), await assets.upload(parts(GOOD))
    assert one.id != two.id
    assert len(stored_files(assets.home)) == 1
    await assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=one.id))
    assert b"".join(await assets.download(two.id)) == GOOD
    await assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=two.id))
    assert stored_files(assets.home) == []
    assert (await refusal(assets.download(two.id))).name == "NOT_FOUND"
    assert (await refusal(assets.stub.DeleteAsset(pb.DeleteAssetRequest(id=two.id)))).name == "NOT_FOUND"


async def test_stored_media_becomes_an_asset_once(assets: Assets) -> None:
    media = await assets.blobs.put(GOOD, media_type="image/png", width=64, height=48)
    quality = QualityMetrics(sharpness=Score(value=0.5, measured_by="sharpness/1"))
    first = await assets.create(
        "g-0", media, generation_id="g", quality=quality, seed=0, metadata={"model": "m"}
    )
    assert (first.id, first.media, first.quality, first.generation_id) == ("g-0", media, quality, "g")
    assert first.HasField("seed")
    assert (
        await assets.create("g-0", media, generation_id="g", quality=quality, seed=0, metadata={"model": "m"})
        == first
    )
    assert await assets.ids() == [["g-0"]]


async def test_an_id_does_not_change_its_media(assets: Assets) -> None:
    await assets.create("g-0", await assets.blobs.put(GOOD, media_type="image/png"))
    other = await assets.blobs.put(picture(9), media_type="image/png")
    error = await refusal(assets.create("g-0", other))
    assert (error.name, error.field) == ("REQUEST_ID_REUSED", "id")


async def test_a_reference_must_be_true(assets: Assets) -> None:
    media = await assets.blobs.put(GOOD, media_type="image/png")
    missing = MediaRef(uri=f"blob:{'0' * 64}", sha256="0" * 64, media_type="image/png")
    assert (await refusal(assets.create("a", missing))).name == "NOT_FOUND"
    two_digests = MediaRef(uri=media.uri, sha256="0" * 64, media_type="image/png")
    assert (await refusal(assets.create("a", two_digests))).name == "FIELD_INVALID"
    wrong_size = MediaRef(uri=media.uri, sha256=media.sha256, media_type="image/png", size_bytes=1)
    assert (await refusal(assets.create("a", wrong_size))).field == "media.size_bytes"
    assert await assets.ids() == [[]]


async def test_pages_are_newest_first_and_hold_every_asset_once(assets: Assets) -> None:
    media = await assets.blobs.put(GOOD, media_type="image/png")
    for number in range(5):
        await assets.create(f"a{number}", media)
    assert await assets.ids(2) == [["a4", "a3"], ["a2", "a1"], ["a0"]]
    assert await assets.ids(5) == [["a4", "a3", "a2", "a1", "a0"]]
    error = await refusal(assets.stub.ListAssets(pb.ListAssetsRequest(page_token="not-a-token")))
    assert (error.name, error.field) == ("FIELD_INVALID", "page_token")


async def test_a_tenant_sees_its_own_assets_only(assets: Assets) -> None:
    asset = await assets.upload(parts(GOOD))
    with identity.acting_as(identity.Identity(tenant="somebody-else")):
        assert (await refusal(assets.stub.GetAsset(pb.GetAssetRequest(id=asset.id)))).name == "NOT_FOUND"
        assert (await refusal(assets.download(asset.id))).name == "NOT_FOUND"
        assert await assets.ids() == [[]]


async def test_assets_outlive_the_server(tmp_path: Path) -> None:
    async with serve(spec(Settings(home=tmp_path))) as server, connect(server.address) as channel:
        asset = await Assets(channel, tmp_path).upload(parts(GOOD))
    async with serve(spec(Settings(home=tmp_path))) as server, connect(server.address) as channel:
        assert b"".join(await Assets(channel, tmp_path).download(asset.id)) == GOOD


CAKE = pb.CreateTemplateRequest(
    request_id="r1",
    kind=pb.TEMPLATE_KIND_PROMPT,
    id="own-cake",
    name="Our cake",
    text="photograph of a {layers} layer cake with {topping} on {place}",
    holes=[
        {"name": "layers", "about": "how many", "default_value": "2", "number": {"lowest": 1, "highest": 6}},
        {"name": "topping", "about": "what is on top", "text": {"max_length": 40, "example": "nuts"}},
        {"name": "place", "about": "where", "choice": {"options": ["a plate", "a stand"]}},
    ],
)


async def test_a_template_is_kept_read_listed_and_deleted(assets: Assets) -> None:
    kept = (await assets.stub.CreateTemplate(CAKE)).template
    assert (kept.id, kept.name, kept.category, kept.style) == ("own-cake", "Our cake", "own", "")
    assert kept.text == CAKE.text
    assert list(kept.holes)[:2] == list(CAKE.holes)[:2]
    assert kept.holes[2].default_value == "a plate"
    assert kept.created_at.seconds > 1_600_000_000
    assert (await assets.stub.CreateTemplate(CAKE)).template == kept
    assert (await assets.stub.GetTemplate(pb.GetTemplateRequest(id="own-cake"))).template == kept
    unnamed = pb.CreateTemplateRequest(kind=pb.TEMPLATE_KIND_PROMPT, name="Plain", text="a red apple")
    plain = (await assets.stub.CreateTemplate(unnamed)).template
    assert plain.id.startswith("own-")
    first = await assets.stub.ListStoredTemplates(pb.ListStoredTemplatesRequest(page_size=1))
    assert list(first.templates) == [plain]
    second = await assets.stub.ListStoredTemplates(
        pb.ListStoredTemplatesRequest(page_size=1, page_token=first.next_page_token)
    )
    assert (list(second.templates), second.next_page_token) == ([kept], "")
    with identity.acting_as(identity.Identity(tenant="somebody-else")):
        assert not (await assets.stub.ListStoredTemplates(pb.ListStoredTemplatesRequest())).templates
        gone = pb.DeleteTemplateRequest(id="own-cake")
        assert (await refusal(assets.stub.DeleteTemplate(gone))).name == "NOT_FOUND"
    await assets.stub.DeleteTemplate(pb.DeleteTemplateRequest(id="own-cake"))
    error = await refusal(assets.stub.GetTemplate(pb.GetTemplateRequest(id="own-cake")))
    assert (error.name, error.field) == ("NOT_FOUND", "id")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": pb.TEMPLATE_KIND_STYLE}, "kind"),
        ({"kind": 0}, "kind"),
        ({"id": "cake"}, "id"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"text": "no hole"}, "holes"),
        ({"text": "{Layers} {topping} {place}"}, "text"),
        ({"category": "Two words"}, "category"),
        ({"style": "Two words"}, "style"),
        ({"holes": [{"name": "layers", "about": "x"}]}, "holes[0]"),
        ({"holes": [{"name": "layers", "about": "x" * 17_000}]}, "holes"),
        ({"holes": [{"name": "layers"}] * 33}, "holes"),
    ],
)
async def test_what_is_no_template_is_refused_by_its_field(
    assets: Assets, change: dict[str, object], field: str
) -> None:
    request = pb.CreateTemplateRequest()
    request.CopyFrom(CAKE)
    for name in change:
        request.ClearField(name)  # type: ignore[arg-type]
    request.MergeFrom(pb.CreateTemplateRequest(**change))  # type: ignore[arg-type]
    error = await refusal(assets.stub.CreateTemplate(request))
    assert (error.name, error.field) == ("FIELD_INVALID", field)
    token = pb.ListStoredTemplatesRequest(page_token="strange")
    assert (await refusal(assets.stub.ListStoredTemplates(token))).field == "page_token"


async def test_what_is_not_served_says_so(assets: Assets) -> None:
    error = await refusal(assets.stub.CreateSignedUrl(pb.CreateSignedUrlRequest(id="a")))
    assert error.name == "UNIMPLEMENTED"
