"""What a picture shows: equal seeds give equal pixels, in files whose signed manifests differ."""

import hashlib
import io

import numpy as np
from PIL import Image

from scrollintel.visual import Asset


async def shown(asset: Asset) -> str:
    """Return the digest of a picture's pixels."""
    return hashlib.sha256(np.asarray(Image.open(io.BytesIO(await asset.read()))).tobytes()).hexdigest()
