"""C2PA manifests: signed into a file, and read back out of one.

The library works in memory and reaches for nothing: no time stamp, no remote manifest, no revocation list. It salts each
assertion, so that no two manifests are the same bytes.
"""

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import c2pa
from PIL import Image

from scrollintel.visual.version import __version__
from services.safety.provenance import signer
from services.safety.provenance.credentials import Credentials

GENERATOR = "visual-mesh"
GENERATION = "org.visual-mesh.generation"  # the label of our own assertion

SOURCE = "source"

# https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DRAWN = _SOURCE_TYPE + "trainedAlgorithmicMedia"
RESTORED = _SOURCE_TYPE + "algorithmicallyEnhanced"

# What an unreadable manifest, and one that does not hold, is called; other codes are told as they are.
_REASONS = {
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.bmffHash.mismatch": "the file was changed after it was signed",
    "signingCredential.untrusted": "it is signed by somebody whom this mesh does not trust",
    "claimSignature.mismatch": "its signature does not hold",
    "assertion.hashedURI.mismatch": "its assertions were changed after it was signed",
}
NO_MANIFEST = "the file has no manifest"
ANOTHERS = "it is signed by another organisation under the same authority"
UNREADABLE = "the file's manifest cannot be read"


@dataclass(frozen=True)
class Facts:
    """What a manifest says of a picture; `model` is empty for a restoration."""

    generation_id: str
    model: str = ""


@dataclass(frozen=True)
class Source:
    """The file that a restored picture was made from."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class Reading:
    """What a file says of itself; `facts` only where it is believed."""

    found: bool
    issuer: str = ""
    facts: Facts | None = None
    reasons: tuple[str, ...] = ()


class Manifests:
    """Signs with a mesh's credentials and believes what they signed. Every method blocks; use it in threads."""

    def __init__(self, credentials: Credentials) -> None:
        """Open the signer and try it; raises ValueError, with the setting and the rule, where chain and key are none."""
        algorithm = signer.algorithm(credentials.chain, credentials.key)
        try:
            self._signer = c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(
                    alg=algorithm,
                    sign_cert=credentials.chain,
                    private_key=credentials.key,
                    ta_url=None,
                )
            )
            # Thumbnails would hold each picture a second time, and take ten times as long as all else. A source is
            # an upload: left to itself, the library would ask whatever address its XMP gives for a manifest.
            quiet = {
                "builder": {"thumbnail": {"enabled": False}},
                "verify": {"verify_after_sign": False, "remote_manifest_fetch": False},
            }
            self._signing = c2pa.Context.from_dict(quiet)
            trust = {"user_anchors": credentials.anchors.decode()}
            self._reading = c2pa.Context.from_dict(
                {"trust": trust, "verify": {"verify_trust": True, "remote_manifest_fetch": False}}
            )
        except (c2pa.C2paError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{signer.CHAIN}: no signer of manifests, as C2PA 2.2, section 14.5, wants one"
            ) from error
        self._organisation = self._prove()

    def sign(self, data: bytes, media_type: str, facts: Facts, source: Source | None = None) -> bytes:
        """Return the file with a manifest in it: `image/png`, `image/jpeg`, `image/webp` or `video/mp4`.

        `source` goes into it as what the file was made from, with its own manifest, unless it cannot be read as that.
        Raises c2pa.C2paError when the file is of another kind, or damaged.
        """
        if source is not None:
            with suppress(c2pa.C2paError):
                return self._signed(data, media_type, facts, source)
        return self._signed(data, media_type, facts, None)

    def _prove(self) -> str:
        """Sign a file, read it back and return whose it is: a key of another chain, or one that ran out, signs, too."""
        blank = io.BytesIO()
        Image.new("L", (1, 1)).save(blank, "PNG")
        try:
            read = self._read(self.sign(blank.getvalue(), "image/png", Facts("proof")), "image/png")
        except c2pa.C2paError as error:
            raise ValueError(f"{signer.CHAIN} and {signer.KEY}: cannot sign a manifest") from error
        if read.facts is None:
            told = "; ".join(read.reasons)
            raise ValueError(f"{signer.CHAIN}: what it signs is not believed by its own authority: {told}")
        return read.issuer

    def _signed(self, data: bytes, media_type: str, facts: Facts, source: Source | None) -> bytes:
        sealed = io.BytesIO()
        with c2pa.Builder(json.dumps(_claim(facts, opened=source is not None)), self._signing) as builder:
            if source is not None:
                described = {"relationship": "parentOf", "label": SOURCE, "title": SOURCE}
                builder.add_ingredient(described, source.media_type, io.BytesIO(source.data))
            builder.sign(self._signer, media_type, io.BytesIO(data), sealed)
        return sealed.getvalue()

    def read(self, data: bytes, media_type: str) -> Reading:
        """Return what a file's manifest says, and why it is not believed where it is not.

        An authority may sign for others, too: a file is the mesh's where the organisation is its own besides.
        """
        read = self._read(data, media_type)
        if read.facts is not None and read.issuer != self._organisation:
            return Reading(found=True, issuer=read.issuer, reasons=(ANOTHERS,))
        return read

    def _read(self, data: bytes, media_type: str) -> Reading:
        try:
            with c2pa.Reader(media_type, io.BytesIO(data), context=self._reading) as reader:
                state, told = reader.get_validation_state(), json.loads(reader.json())
        except c2pa.C2paError.ManifestNotFound:
            return Reading(found=False, reasons=(NO_MANIFEST,))
        except c2pa.C2paError:
            return Reading(found=True, reasons=(UNREADABLE,))
        active = told.get("manifests", {}).get(told.get("active_manifest"), {})
        issuer = str(active.get("signature_info", {}).get("issuer", ""))
        if state != "Trusted":
            return Reading(found=True, issuer=issuer, reasons=_why(told))
        return Reading(found=True, issuer=issuer, facts=_facts(active))


def _claim(facts: Facts, *, opened: bool) -> dict[str, Any]:
    """Return a claim: drawn by a model or restored, and then `opened` from a source that is told with it."""
    mesh = {"name": GENERATOR, "version": __version__}
    made = {
        "digitalSourceType": DRAWN if facts.model else RESTORED,
        "softwareAgent": {"name": facts.model} if facts.model else mesh,
    }
    actions: list[dict[str, Any]] = [{"action": "c2pa.created", **made}]
    if opened:
        actions = [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": [SOURCE]}},
            {"action": "c2pa.edited", **made},
        ]
    told = {"id": facts.generation_id} | ({"model": facts.model} if facts.model else {})
    return {
        "claim_generator_info": [mesh],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": actions}},
            {"label": GENERATION, "data": told},
        ],
    }


def _facts(manifest: Mapping[str, Any]) -> Facts:
    """Return what a manifest's own assertion says; one of another product under the same authority says nothing."""
    for assertion in manifest.get("assertions", ()):
        if assertion.get("label") == GENERATION:
            told = assertion.get("data", {})
            return Facts(str(told.get("id", "")), str(told.get("model", "")))
    return Facts("")


def _why(told: Mapping[str, Any]) -> tuple[str, ...]:
    codes = dict.fromkeys(str(status.get("code", "")) for status in told.get("validation_status", ()))
    return tuple(dict.fromkeys(_REASONS.get(code, code) for code in codes if code)) or (UNREADABLE,)
