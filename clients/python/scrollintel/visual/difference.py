"""How far one picture is from another."""

from dataclasses import dataclass

from scrollintel.visual.v1 import quality_pb2 as pb


@dataclass(frozen=True, slots=True)
class Difference:
    """What was measured of a picture against a reference of its size."""

    psnr_db: float
    """Peak signal-to-noise ratio in decibels; infinite for equal pictures."""
    ssim: float
    """Structural similarity in [-1, 1]; 1 for equal pictures."""
    ms_ssim: float | None
    """The same over five scales, in [0, 1]; None under 176 pixels a side."""
    gmsd: float
    """Perceptual distance (gradient magnitude similarity deviation): 0 for equal pictures, about 0.5 at most."""
    color_difference: float
    """Mean colour difference in units of CIELAB; about 2.3 is just noticed."""

    @classmethod
    def read(cls, message: pb.CompareImagesResponse) -> "Difference":
        """Read a difference from the wire."""
        return cls(
            psnr_db=message.psnr_db,
            ssim=message.ssim,
            ms_ssim=message.ms_ssim if message.HasField("ms_ssim") else None,
            gmsd=message.gmsd,
            color_difference=message.color_difference,
        )
