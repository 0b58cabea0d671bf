import asyncio
import io
import socketserver
import threading
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from scrollintel.visual.cli import png
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.errors import MeshError
from services.safety.provenance import credentials, development
from services.safety.provenance.manifest import ANOTHERS, NO_MANIFEST, UNREADABLE, Facts, Manifests, Source
from services.safety.provenance.rpcs import Provenance
from services.safety.provenance.seal import Seal, Work
from services.safety.settings import Settings

NOW = datetime.now(UTC)
FACTS = Facts("gen-1", "text_to_image_house")
WORK, ANOTHER = Work("local", "work"), Work("local", "another")
PICTURE = np.kron(
    np.random.default_rng(1).integers(40, 215, (6, 8, 3), np.uint8), np.ones((32, 32, 1), np.uint8)
)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return credentials.load(tmp_path_factory.mktemp("home") / "provenance", None, None, None)


@pytest.fixture(scope="module")
def seal(given):
    return Seal(given)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_credentials_are_made_once_and_for_their_owner_alone(tmp_path):
    folder = tmp_path / "home" / "provenance"
    first = credentials.load(folder, None, None, None)
    assert {file.name: oct(file.stat().st_mode)[-3:] for file in folder.iterdir()} == {
        "chain.pem": "600",
        "key.pem": "600",
        "watermark.key": "600",
    }
    assert credentials.load(folder, None, None, None) == first
    assert [each.name for each in folder.parent.iterdir()] == ["provenance"]
    assert str(first.key) not in repr(first)


def test_an_operators_credentials_are_used_and_none_are_made(tmp_path, given):
    for name, content in (("chain", given.chain), ("key", given.key), ("mark", b"a passphrase")):
        (tmp_path / name).write_bytes(content)
    read = credentials.load(tmp_path / "none", *(tmp_path / name for name in ("chain", "key", "mark")))
    assert (read.chain, read.key) == (given.chain, given.key)
    assert read.watermark != given.watermark
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="both or neither"):
        credentials.load(tmp_path / "none", tmp_path / "chain", None, None)


def test_the_development_certificate_may_sign_and_nothing_else(given):
    signer, root = x509.load_pem_x509_certificates(given.chain)
    signer.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert not signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (signer.not_valid_after_utc - datetime.now(UTC)).days > 3000


@pytest.mark.parametrize("broken", ["key", "chain", "other"])
def test_what_is_no_signer_is_refused_by_name(tmp_path, given, broken):
    changed = {
        "key": credentials.Credentials(given.chain, b"no key", given.watermark),
        "chain": credentials.Credentials(b"no chain", given.key, given.watermark),
        "other": credentials.Credentials(
            given.chain, credentials.load(tmp_path / "p", None, None, None).key, given.watermark
        ),
    }[broken]
    with pytest.raises(ValueError, match="C2PA"):
        Manifests(changed)


YEAR = timedelta(days=365)


def signed_by(tmp_path, chain, key):
    for name, content in (("chain", chain), ("key", key)):
        (tmp_path / name).write_bytes(content)
    return Manifests(credentials.load(tmp_path / "home", tmp_path / "chain", tmp_path / "key", None))


@pytest.mark.parametrize("years", [-11, 1])
def test_a_certificate_that_is_not_valid_today_is_refused_with_its_days(tmp_path, years):
    made = NOW + years * YEAR
    rule = (
        f"CHAIN: certificate 1 of 2 is valid from {made - development.CLOCKS_DIFFER:%Y-%m-%d} to .*renew it"
    )
    with pytest.raises(ValueError, match=rule):
        signed_by(tmp_path, *development.certificate(made))


def test_a_key_of_another_certificate_is_refused_as_that(tmp_path, given):
    with pytest.raises(ValueError, match=r"^VMESH_SAFETY_C2PA_KEY: must be the key of the first certificate"):
        signed_by(tmp_path, given.chain, development.certificate()[1])


async def test_a_file_that_cannot_be_read_is_told_by_its_setting(tmp_path, given):
    for name, content in (("chain", given.chain), ("empty", b" \n")):
        (tmp_path / name).write_bytes(content)
    for named, fields in {
        "VMESH_SAFETY_C2PA_CHAIN": {"c2pa_chain": tmp_path / "none", "c2pa_key": tmp_path / "none"},
        "VMESH_SAFETY_C2PA_KEY": {"c2pa_chain": tmp_path / "chain", "c2pa_key": tmp_path},
        "VMESH_SAFETY_WATERMARK_KEY": {"watermark_key": tmp_path / "empty"},
    }.items():
        with pytest.raises(MeshError, match=f"FIELD_INVALID: {named}: {tmp_path}[^\n]*$"):
            await Provenance.open(Settings(home=tmp_path / "home", **fields), None)


def test_a_development_certificate_is_followed_by_another_at_half_its_days(tmp_path):
    folder, (chain, key) = tmp_path / "provenance", development.certificate(NOW - 6 * YEAR)
    credentials._write(folder, {"chain.pem": chain, "key.pem": key, "watermark.key": b"kept"})
    first = Manifests(credentials.Credentials(chain, key, b"")).sign(blank_png(), "image/png", FACTS)
    renewed = credentials.load(folder, None, None, None)
    assert renewed.chain != chain
    assert renewed == credentials.load(folder, None, None, None), "once"
    assert len(list(folder.glob("renewed-*"))) == 1
    assert Manifests(renewed).read(first, "image/png").facts == FACTS, "what was signed before stays valid"
    other = credentials.Credentials(*development.certificate(), b"")
    assert Manifests(other).read(first, "image/png").facts is None


def blank_png():
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_a_sealed_picture_tells_who_made_it_and_any_change(seal, media_type):
    sealed = seal.seal(PICTURE, media_type, WORK, FACTS)
    read = seal.read(sealed.data, media_type)
    assert (read.found, read.facts, read.reasons) == (True, FACTS, ())
    assert read.issuer == "Visual Mesh (development)"
    assert seal.find(pixels(sealed.data)).payload == sealed.payload == seal.payload(WORK)
    tampered = bytearray(sealed.data)
    tampered[len(tampered) // 2] ^= 1
    changed = seal.read(bytes(tampered), media_type)
    assert changed.facts is None
    assert changed.reasons


def test_equal_pictures_of_equal_works_have_equal_pixels(seal):
    one, other = (seal.seal(PICTURE, "image/png", WORK, Facts(name, "m")) for name in ("gen-1", "gen-2"))
    assert np.array_equal(pixels(one.data), pixels(other.data))
    assert one.data != other.data
    assert png.same_but_manifest(one.data, other.data)
    assert seal.seal(PICTURE, "image/png", ANOTHER, FACTS).payload != one.payload


def test_two_tenants_equal_works_bear_different_marks(seal):
    ours, theirs = (seal.payload(Work(tenant, "work")) for tenant in ("ours", "theirs"))
    assert ours == seal.payload(Work("ours", "work"))
    assert ours != theirs
    assert seal.payload(Work("a", "bc")) != seal.payload(Work("ab", "c"))


def test_the_description_is_in_the_file_and_not_in_the_manifest(seal):
    sealed = seal.seal(PICTURE, "image/png", WORK, FACTS, None, {"prompt": "a smiling cat"}).data
    assert png.text_of(sealed) == {"prompt": "a smiling cat"}
    assert png.is_sealed(sealed)
    manifest = b"".join(body for kind, body in png.chunks(sealed) if kind == png.MANIFEST)
    assert b"gen-1" in manifest
    assert b"cat" not in manifest
    described_after = png.with_text(sealed, {"note": "added"})
    assert seal.read(described_after, "image/png").reasons == ("the file was changed after it was signed",)


def test_a_restored_picture_keeps_its_mark_and_tells_its_source(seal):
    drawn = seal.seal(PICTURE, "image/png", WORK, FACTS)
    source = Source(drawn.data, "image/png")
    restored = seal.seal(pixels(drawn.data), "image/png", ANOTHER, Facts("gen-2"), source)
    assert restored.payload == drawn.payload
    assert seal.read(restored.data, "image/png").facts == Facts("gen-2")
    assert b"gen-1" in restored.data, "the source's own manifest is still there"
    unreadable = seal.seal(PICTURE, "image/png", WORK, Facts("gen-2"), Source(b"nothing", "image/png"))
    assert seal.read(unreadable.data, "image/png").facts == Facts("gen-2")


def test_what_another_mesh_made_is_not_believed(seal, tmp_path):
    other = Seal(credentials.load(tmp_path / "provenance", None, None, None))
    sealed = other.seal(PICTURE, "image/png", WORK, FACTS).data
    read = seal.read(sealed, "image/png")
    assert read.reasons == ("it is signed by somebody whom this mesh does not trust",)
    assert (read.found, read.facts) == (True, None)
    assert not seal.find(pixels(sealed)).marked


def test_another_organisation_under_the_same_authority_is_not_believed():
    authority_key, authority = generate_private_key(SECP256R1()), organisation("Authority")

    def certificate(name, key, signs):
        built = development._certificate(name, authority, key.public_key(), authority_key.public_key(), NOW)
        built = built.add_extension(x509.BasicConstraints(ca=not signs, path_length=None), critical=True)
        built = built.add_extension(development._usage(signs=signs), critical=True)
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        built = built.add_extension(purpose, critical=False) if signs else built
        return built.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def manifests(name):
        key = generate_private_key(SECP256R1())
        chain = certificate(organisation(name), key, True) + certificate(authority, authority_key, False)
        return Manifests(credentials.Credentials(chain, development._private(key), b"mark"))

    ours, others = manifests("Ours"), manifests("Others")
    plain = io.BytesIO()
    Image.fromarray(PICTURE).save(plain, "PNG")
    forged = ours.read(others.sign(plain.getvalue(), "image/png", FACTS), "image/png")
    assert (forged.facts, forged.issuer, forged.reasons) == (None, "Others", (ANOTHERS,))
    before_it_was_renewed = manifests("Ours").sign(plain.getvalue(), "image/png", FACTS)
    assert ours.read(before_it_was_renewed, "image/png").facts == FACTS


def organisation(name):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])


def test_what_has_no_manifest_says_so(seal):
    plain = io.BytesIO()
    Image.fromarray(PICTURE).save(plain, "PNG")
    assert seal.read(plain.getvalue(), "image/png").reasons == (NO_MANIFEST,)
    assert seal.read(b"nothing", "image/png").reasons == (UNREADABLE,)


def test_a_video_is_signed_too(given, tmp_path):
    manifests, file = Manifests(given), str(tmp_path / "video.mp4")
    writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*"mp4v"), 24, (256, 192))
    for _ in range(3):
        writer.write(PICTURE)
    writer.release()
    signed = bytearray(manifests.sign((tmp_path / "video.mp4").read_bytes(), "video/mp4", FACTS))
    assert manifests.read(bytes(signed), "video/mp4").facts == FACTS
    signed[-200] ^= 1
    assert manifests.read(bytes(signed), "video/mp4").facts is None


def test_the_address_that_an_uploads_xmp_gives_is_never_asked(given):
    asked = []

    class Listens(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.request.recv(100))

    with socketserver.TCPServer(("127.0.0.1", 0), Listens) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        file = io.BytesIO()
        Image.fromarray(PICTURE).save(
            file, "JPEG", xmp=points_to(f"http://127.0.0.1:{server.server_address[1]}/")
        )
        source = Source(file.getvalue(), "image/jpeg")
        manifests = Manifests(given)
        sealed = manifests.sign(source.data, "image/jpeg", Facts("gen-1"), source)
        manifests.read(source.data, "image/jpeg")
        server.shutdown()
    assert asked == []
    assert manifests.read(sealed, "image/jpeg").facts == Facts("gen-1")


def points_to(address):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" rdf:about="" '
        f'dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


async def test_who_leaves_early_leaves_the_turn_to_the_work(tmp_path):
    reading, may_end = threading.Event(), threading.Event()

    def get(_):
        reading.set()
        may_end.wait(20)
        raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, "gone")

    class Slow:
        async def get(self, ref):
            return await asyncio.to_thread(get, ref)

    provenance = Provenance(None, Slow(), Settings(home=tmp_path, seals=1, seals_waiting=0))
    first = asyncio.create_task(provenance.verify(MediaRef()))
    await asyncio.to_thread(reading.wait, 5)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(MeshError, match="full"):
        await provenance.verify(MediaRef())
    may_end.set()
    await asyncio.sleep(0.1)
    with pytest.raises(MeshError, match="gone"):
        await provenance.verify(MediaRef())
