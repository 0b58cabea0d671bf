"""Text in a picture, read by Triton's two models of PP-OCR and judged by the rules for prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient
from services.safety.category import WORST, Signal
from services.safety.pictures import lines
from services.safety.pictures.checker import Opinion, Pixels, Shown
from services.safety.rules import RuleSet

DETECTOR, RECOGNISER = "text_detection", "text_recognition"
CHECKER = "writing/1"
MOST_LINES = 32  # that are read, the largest first; what is smaller in a picture with more is not read
BATCH = 4  # lines of about one length in one call, within the recogniser's own limit of 8
LEGIBLE = 0.5  # mean probability of a line's characters, below which it is no text
PLAIN = 0.9  # below, a line may stand upside down and is read that way, too


@dataclass(frozen=True)
class Writing:
    """Reads a picture, and judges what it reads as a prompt would be."""

    triton: TritonClient
    rules: RuleSet
    seconds: float
    name: str = CHECKER

    async def check(self, shown: Shown) -> Opinion:
        """Return one signal for each rule that the text breaks. Raises MeshError, and ValueError for a strange answer."""
        text = await self.read(shown.pixels)
        if not text:
            return Opinion()
        held = shown.held
        broken = await in_thread(self.rules.check, text, extra=held.terms, allowed=held.allowed)
        signals = [_seen(signal) for signal in dict.fromkeys(broken)]
        return Opinion(signals, max((signal.severity / WORST for signal in signals), default=0.0))

    async def read(self, picture: Pixels) -> str:
        """Return the text in a picture UINT8 [H,W,3], its lines in reading order; raises as `check`."""
        height, width = picture.shape[:2]
        shown = await in_thread(_reduced, picture)
        found = (await self.triton.infer(DETECTOR, {"image": shown}, self.seconds))["probability"]
        if found.shape != shown.shape[:2] or found.dtype != np.uint8:
            raise ValueError(f"a map {found.dtype} {found.shape} of a picture {shown.shape}")
        quads = (await in_thread(lines.find, found, height, width))[:MOST_LINES]
        pieces = await in_thread(lambda: [lines.cut(picture, quad) for quad in quads])
        texts = await self._texts(pieces)
        return " ".join(filter(None, (texts[index] for index in lines.reading_order(quads))))

    async def _texts(self, pieces: Sequence[Pixels]) -> list[str]:
        """Read lines; empty where one is illegible both ways up."""
        read = await self._recognised(pieces)
        doubtful = [index for index, (_, sure) in enumerate(read) if sure < PLAIN]
        turned = await self._recognised(
            [np.ascontiguousarray(pieces[index][::-1, ::-1]) for index in doubtful]
        )
        for index, other in zip(doubtful, turned, strict=True):
            read[index] = max(read[index], other, key=lambda each: each[1])
        return [text.strip() if sure >= LEGIBLE else "" for text, sure in read]

    async def _recognised(self, pieces: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Return each line's text and how sure the model is of it."""
        read: list[tuple[str, float]] = [("", 0.0)] * len(pieces)
        by_width = sorted(range(len(pieces)), key=lambda index: pieces[index].shape[1])
        for start in range(0, len(pieces), BATCH):
            batch = by_width[start : start + BATCH]
            given = {"line": lines.batched([pieces[index] for index in batch])}
            answer = await self.triton.infer(RECOGNISER, given, self.seconds)
            texts, sure = answer["text"].reshape(-1), answer["confidence"].reshape(-1)
            believable = ((sure >= 0) & (sure <= 1)).all()  # a NaN is neither
            if not len(texts) == len(sure) == len(batch) or not believable:
                raise ValueError(f"{len(texts)} texts, {len(sure)} confidences for {len(batch)} lines")
            for index, text, confidence in zip(batch, texts, sure, strict=True):
                read[index] = text.decode(), float(confidence)
        return read


def _reduced(picture: Pixels) -> Pixels:
    height, width = lines.shown_size(*picture.shape[:2])
    smaller = height * width < picture.shape[0] * picture.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _seen(signal: Signal) -> Signal:
    return replace(signal, checker=CHECKER, evidence=f"text in the picture, {signal.evidence}")
