"""Where a picture comes from, as its file and its pixels say."""

from dataclasses import dataclass

from scrollintel.visual.v1 import safety_pb2 as pb


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was read of a picture's signed manifest and of its invisible watermark."""

    manifest_found: bool
    """Whether the file has a manifest, valid or not."""
    manifest_valid: bool
    """Whether it is one of this mesh's, and the file is as it was signed."""
    issuer: str
    """Who signed the manifest; empty without one."""
    generation_id: str
    """From a valid manifest; empty otherwise."""
    model: str
    """The model that drew it, from a valid manifest; empty otherwise, and for a restoration."""
    watermark_found: bool
    """Whether this mesh's watermark is in the pixels."""
    watermark: str
    """Its payload, as the asset's metadata has it under `watermark`; empty where it could not be read."""
    watermark_p_value: float
    """How likely a picture without the watermark would look as marked as this one, in [0, 1]."""
    reasons: tuple[str, ...]
    """Why the manifest is not valid; empty when it is."""

    @classmethod
    def read(cls, message: pb.VerifyProvenanceResponse) -> "Provenance":
        """Read an answer from the wire."""
        return cls(
            manifest_found=message.manifest_found,
            manifest_valid=message.manifest_valid,
            issuer=message.issuer,
            generation_id=message.generation_id,
            model=message.model,
            watermark_found=message.watermark_found,
            watermark=message.watermark,
            watermark_p_value=message.watermark_p_value,
            reasons=tuple(message.reasons),
        )
