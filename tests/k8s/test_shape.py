"""The manifests against the code: each disagreement is found."""

from collections.abc import Callable

import pytest

from tools.k8s.manifests import Manifest, Manifests, main_container, pod_of
from tools.k8s.shape import check_shape, servers

Break = Callable[[Manifests], object]


def deployment(manifests: Manifests, name: str) -> Manifest:
    found = manifests.named("Deployment", name)
    assert found is not None
    return found


def config(manifests: Manifests) -> dict[str, str]:
    found: dict[str, str] = next(manifests.of("ConfigMap"))["data"]
    return found


def set_env(manifests: Manifests, **variables: str) -> None:
    config(manifests).update(variables)


BREACHES: list[tuple[str, Break]] = [
    ("Deployment/prompt: is missing", lambda m: deployment(m, "prompt")["metadata"].update(name="prompts")),
    (
        "Deployment/prompts: there is no server",
        lambda m: deployment(m, "prompt")["metadata"].update(name="prompts"),
    ),
    (
        "VMESH_PROMPT_ADRESS is read by no server",
        lambda m: set_env(m, VMESH_PROMPT_ADRESS="dns:///prompt:50051"),
    ),
    ("neither ours", lambda m: set_env(m, PATH="/")),
    (
        "the server is services.prompt",
        lambda m: main_container(deployment(m, "prompt")).update(args=["services.safety"]),
    ),
    ("refuse the environment", lambda m: set_env(m, VMESH_PROMPT_METRICS_PORT="many")),
    ("PROMPT_ADDRESS is not set", lambda m: config(m).pop("VMESH_ORCHESTRATOR_PROMPT_ADDRESS")),
    ("is not dns:///", lambda m: set_env(m, VMESH_ORCHESTRATOR_PROMPT_ADDRESS="dns:///promt:50051")),
    ("is not dns:///", lambda m: set_env(m, VMESH_ORCHESTRATOR_PROMPT_ADDRESS="prompt:50051")),
    ("is not dns:///", lambda m: set_env(m, VMESH_TRITON_ADDRESS="dns:///triton:8000")),
    ("listens on", lambda m: set_env(m, VMESH_PROMPT_LISTEN="127.0.0.1:50051")),
    ("serves metrics on", lambda m: config(m).pop("VMESH_PROMPT_METRICS_PORT")),
    ("no volume is mounted", lambda m: set_env(m, VMESH_HOME="/home/mesh")),
    ("keeps media", lambda m: set_env(m, VMESH_BLOB_URL="")),
    (
        "killed before its drain",
        lambda m: pod_of(deployment(m, "prompt")).update(terminationGracePeriodSeconds=20),
    ),
    ("killed before its drain", lambda m: set_env(m, VMESH_PROMPT_GRACE_SECONDS="60")),
    (
        "readiness asks for",
        lambda m: main_container(deployment(m, "prompt"))["readinessProbe"]["grpc"].update(
            service="scrollintel.visual.v1.SafetyService"
        ),
    ),
    ("the callers are", lambda m: let_in(m, "gateway")),
    (
        "models and shared memory need",
        lambda m: main_container(deployment(m, "triton"))["resources"]["limits"].update(memory="1Gi"),
    ),
    (
        "Deployment/triton: is killed",
        lambda m: main_container(deployment(m, "triton"))["args"].remove("--exit-timeout-secs=20"),
    ),
]


def let_in(manifests: Manifests, name: str) -> None:
    policy = manifests.named("NetworkPolicy", "triton")
    assert policy is not None
    policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"].append(name)


@pytest.mark.parametrize(("says", "break_it"), BREACHES)
def test_disagreement_is_found(broken: Manifests, says: str, break_it: Break) -> None:
    break_it(broken)
    breaches = list(check_shape(broken, servers()))
    assert any(says in breach for breach in breaches), breaches
