"""How like the house matcher finds pictures, and their spoilt copies: `python -m bench.quality.likeness`.

The pictures are the 24 drawings of docs/images/contact-sheet.png and ten of scikit-image's photographs. What uniqueness
takes for a copy and for another subject (`services/quality/uniqueness.py`) was chosen from this table.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table
from skimage import data

from bench.quality.spoiling import SPOILERS, Pixels
from services.quality.adherence import matcher_input

MODEL = Path("model_repository/image_text_matcher/1/model.onnx")
SHEET = Path("docs/images/contact-sheet.png")
ROWS, COLUMNS = 4, 6
MARGIN, CAPTION = 4, 26  # pixels around a drawing on the sheet
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket",
)  # fmt: skip
COPIES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "JPEG 50": lambda p: SPOILERS["JPEG"].apply(p, 50),
    "JPEG 15": lambda p: SPOILERS["JPEG"].apply(p, 15),
    "noise 8": lambda p: SPOILERS["noise"].apply(p, 8),
    "blur 1.5": lambda p: SPOILERS["blur"].apply(p, 1.5),
    "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "nine tenths of it": lambda p: p[len(p) // 20 : -len(p) // 20, p.shape[1] // 20 : -p.shape[1] // 20],
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
}


def drawings() -> list[Pixels]:
    """Return the drawings of the sheet."""
    sheet = np.ascontiguousarray(cv2.imread(str(SHEET))[..., ::-1])
    height, width = sheet.shape[0] // ROWS, sheet.shape[1] // COLUMNS
    corners = [(row * height, column * width) for row in range(ROWS) for column in range(COLUMNS)]
    return [
        sheet[top + MARGIN : top + height - CAPTION, left + MARGIN : left + width - MARGIN]
        for top, left in corners
    ]


def photographs() -> list[Pixels]:
    """Return photographs as [H, W, 3] RGB."""
    pictures = [np.asarray(getattr(data, name)(), np.uint8) for name in PHOTOGRAPHS]
    return [np.dstack([picture] * 3) if picture.ndim == 2 else picture for picture in pictures]


def main() -> None:
    """Measure and print the table."""
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])

    def embed(picture: Pixels) -> np.ndarray:
        image = matcher_input(np.ascontiguousarray(picture), 128, 128)
        (embedding,) = session.run(["embedding"], {"image": image[None]})
        return np.asarray(embedding[0])

    table = Table("cosine", "least", "median", "most")

    def add(name: str, values: np.ndarray) -> None:
        table.add_row(name, *(f"{np.percentile(values, at):.2f}" for at in (0, 50, 100)))

    kinds = {"drawings": drawings(), "photographs": photographs()}
    for kind, pictures in kinds.items():
        vectors = np.array([embed(picture) for picture in pictures])
        cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
        add(f"{kind}: to any other", cosines[np.triu_indices(len(vectors), 1)])
        add(f"{kind}: to the nearest other", cosines.max(axis=1))
    everything = [picture for pictures in kinds.values() for picture in pictures]
    for name, copy in COPIES.items():
        add(f"{name}: to its original", np.array([embed(p) @ embed(copy(p)) for p in everything]))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
