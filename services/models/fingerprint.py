"""What decides how a build looks, as one digest: the code, the entry, the weights, the converter and its libraries."""

import hashlib
import platform
from pathlib import Path

from services.models.assemble import code
from services.models.converters import code_of, versions
from services.models.digests import remembered_sha256, sha256_file
from services.models.entry import Model, OperatorSource, RepositorySource
from services.models.operator_weights import files_of

DESCRIPTIVE = {
    "title",
    "memory_mib",
    "residency",
    "optional",
}  # say something of a build, and change nothing in it


def fingerprint(model: Model, home: Path, repository: Path, weights: Path | None = None) -> str:
    """Return 16 hex digits; `weights` is where an operator's weights lie. The files must be there."""
    digest = hashlib.sha256(model.model_dump_json(exclude=DESCRIPTIVE).encode())
    digest.update(f"{platform.machine()} {' '.join(versions(model))}".encode())
    for file, place in code(model, repository):
        digest.update(f"{place}={sha256_file(file)}".encode())
    for file in code_of(model):
        digest.update(f"{file.name}={sha256_file(file)}".encode())
    if isinstance(model.source, RepositorySource):
        for committed in model.source.files:
            own = sha256_file(repository / model.template / committed.path)
            digest.update(f"{committed.path}={own}".encode())
    brought = [Path(lora.path) for lora in model.loras]
    if isinstance(model.source, OperatorSource) and weights:
        brought += files_of(model.source, weights)
    for file in brought:
        digest.update(f"{file.name}={remembered_sha256(file, home / 'weights' / 'digests')}".encode())
    return digest.hexdigest()[:16]
