"""Rendered objects, and the few questions that the rules ask of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"


def label_of(manifest: Manifest) -> str:
    """Return `Kind/name`, as findings name an object."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pod_of(deployment: Manifest) -> Manifest:
    """Return a Deployment's pod spec."""
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def pod_labels(deployment: Manifest) -> dict[str, str]:
    """Return the labels of a Deployment's pods."""
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"]["labels"]
    return labels


def main_container(deployment: Manifest) -> Manifest:
    """Return the first container, the one that serves."""
    container: Manifest = pod_of(deployment)["containers"][0]
    return container


def ports_of(deployment: Manifest) -> dict[str, int]:
    """Return the serving container's ports by name."""
    return {port["name"]: port["containerPort"] for port in main_container(deployment).get("ports", [])}


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector (matchLabels, and matchExpressions with In) takes these labels; {} takes all."""
    selector = selector or {}
    unknown = set(selector) - {"matchLabels", "matchExpressions"}
    operators = {expression["operator"] for expression in selector.get("matchExpressions", [])}
    if unknown or operators - {"In"}:
        raise ValueError(
            f"a selector with {sorted(unknown | operators)} is beyond these checks: extend `selects`"
        )
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


def seconds_before_term(container: Manifest) -> float:
    """Return how long the preStop hook sleeps."""
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
    return float(sleep.get("seconds", 0))


UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(quantity: str) -> int:
    """Return a memory quantity in bytes; only binary units are written here."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


@dataclass(frozen=True)
class Manifests:
    """Every object of one rendering."""

    objects: tuple[Manifest, ...]

    def of(self, kind: str) -> Iterator[Manifest]:
        """Yield the objects of a kind."""
        return (each for each in self.objects if each["kind"] == kind)

    def named(self, kind: str, name: str) -> Manifest | None:
        """Return an object by kind and name."""
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def servers(self) -> dict[str, Manifest]:
        """Return the Deployments of the mesh's own servers by name."""
        found = (each for each in self.of("Deployment") if pod_labels(each).get(COMPONENT) == "server")
        return {each["metadata"]["name"]: each for each in found}

    def environment(self, deployment: Manifest) -> dict[str, str]:
        """Return what the serving container finds in its environment: its ConfigMaps, then its own entries."""
        container, found = main_container(deployment), dict[str, str]()
        for source in container.get("envFrom", []):
            if reference := source.get("configMapRef"):
                config = self.named("ConfigMap", reference["name"])
                found |= config["data"] if config else {}
        return found | {
            entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry
        }
