"""Each object against Kubernetes' own schemas, unknown fields refused."""

from collections.abc import Iterator

import kubernetes_validate

from tools.k8s.manifests import Manifest, label_of

VERSION = "1.32"  # what the manifests are written for; the preStop sleep action is on by default since 1.30


def check(manifest: Manifest, version: str = VERSION) -> Iterator[str]:
    """Yield the first breach of the schema, if there is one."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{label_of(manifest)}: {'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield f"{label_of(manifest)}: {error.message}"
