"""The files of a TensorFlow.js model: plain ones, or each wrapped in a script, as nsfwjs publishes its models.

No script is run. One that wraps is minified by browserify: what its only module exports is a literal between a known
beginning and a known end. A shard's literal is a text in base64; the graph's is an object as JavaScript writes it, which
is JSON but for keys without quotes, `!0` and `!1` for true and false, and numbers such as `.5`.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

WRAPPED = ".min.js"
MODULE = re.compile(
    r"\{1:\[function\([\w$,]*\)\{[\w$]+\.exports=(.*)\},\{\}\]\},\{\},\[1\]\)\(1\)\}\);?\s*$", re.DOTALL
)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|!0|!1|[A-Za-z_$][\w$]*(?=:)|(?<![\d\w])\.\d+')
WORDS = {"!0": "true", "!1": "false"}


def read_document(model: Path) -> dict[str, Any]:
    """Read a graph's file, `.json` or `.min.js`. Raises OSError, and ValueError when it is something else."""
    text = model.read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(_as_json(_exported(text)) if model.name.endswith(WRAPPED) else text)
    return document


def read_shard(path: Path) -> bytes:
    """Return a shard's bytes: of the file itself, or of the script of that name. Raises OSError and ValueError."""
    script = path.with_name(f"{path.name}{WRAPPED}")
    if script.is_file():
        return base64.b64decode(json.loads(_exported(script.read_text(encoding="utf-8"))), validate=True)
    return path.read_bytes()


def _exported(script: str) -> str:
    found = MODULE.search(script)
    if found is None:
        raise ValueError("not a script of one module that exports a literal")
    return found[1]


def _as_json(literal: str) -> str:
    return TOKEN.sub(_token, literal)


def _token(found: re.Match[str]) -> str:
    token = found[0]
    if token.startswith('"'):
        return token
    return f"0{token}" if token.startswith(".") else WORDS.get(token) or json.dumps(token)
