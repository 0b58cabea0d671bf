"""Each rule finds what it is there to find: the base with one thing broken."""

from collections.abc import Callable

import pytest

from tools.k8s import rules, schema
from tools.k8s.manifests import Manifest, Manifests, main_container, pod_of

Break = Callable[[Manifests], object]


def of(manifests: Manifests, kind: str, name: str) -> Manifest:
    found = manifests.named(kind, name)
    assert found is not None
    return found


def prompt(manifests: Manifests) -> Manifest:
    return of(manifests, "Deployment", "prompt")


def triton(manifests: Manifests) -> Manifest:
    return of(manifests, "Deployment", "triton")


def triton_ingress(manifests: Manifests) -> list[Manifest]:
    rules_: list[Manifest] = of(manifests, "NetworkPolicy", "triton")["spec"]["ingress"]
    return rules_


BREACHES: list[tuple[rules.Rule, str, Break]] = [
    (
        rules.objects_are_ours,
        "2 times",
        lambda m: of(m, "Service", "safety")["metadata"].update(name="prompt"),
    ),
    (rules.objects_are_ours, "namespace", lambda m: prompt(m)["metadata"].update(namespace="default")),
    (
        rules.objects_are_ours,
        "restricted",
        lambda m: of(m, "Namespace", "visual-mesh")["metadata"].pop("labels"),
    ),
    (rules.probes_are_there, "startupProbe", lambda m: main_container(prompt(m)).pop("startupProbe")),
    (
        rules.probes_are_there,
        "livenessProbe",
        lambda m: main_container(triton(m))["livenessProbe"]["httpGet"].update(port=1),
    ),
    (
        rules.probes_name_the_service,
        "liveness",
        lambda m: main_container(prompt(m))["livenessProbe"]["grpc"].pop("service"),
    ),
    (
        rules.probes_name_the_service,
        "startup",
        lambda m: main_container(prompt(m))["startupProbe"]["grpc"].update(service=""),
    ),
    (rules.pods_are_confined, "root", lambda m: pod_of(prompt(m))["securityContext"].update(runAsUser=0)),
    (
        rules.pods_are_confined,
        "seccomp",
        lambda m: pod_of(triton(m))["securityContext"].pop("seccompProfile"),
    ),
    (rules.pods_are_confined, "Token", lambda m: pod_of(prompt(m)).pop("automountServiceAccountToken")),
    (
        rules.pods_are_confined,
        "write",
        lambda m: pod_of(triton(m))["initContainers"][0].pop("securityContext"),
    ),
    (
        rules.pods_are_confined,
        "drop",
        lambda m: main_container(prompt(m))["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    ),
    (
        rules.pods_are_confined,
        "none of",
        lambda m: pod_of(prompt(m))["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    ),
    (
        rules.pods_are_confined,
        "sizeLimit",
        lambda m: pod_of(prompt(m))["volumes"].append({"name": "more", "emptyDir": {}}),
    ),
    (rules.resources_are_bounded, "limits", lambda m: main_container(prompt(m))["resources"].pop("limits")),
    (
        rules.resources_are_bounded,
        "requests",
        lambda m: pod_of(triton(m))["initContainers"][0]["resources"]["requests"].pop("cpu"),
    ),
    (
        rules.volumes_have_one_pod,
        "Deployment/quality: its volume is for one pod",
        lambda m: of(m, "Deployment", "quality")["spec"].update(replicas=2),
    ),
    (
        rules.volumes_have_one_pod,
        "Recreate",
        lambda m: of(m, "Deployment", "safety")["spec"].update(strategy={"type": "RollingUpdate"}),
    ),
    (
        rules.images_are_pinned,
        "no version",
        lambda m: main_container(prompt(m)).update(image="registry:5000/visual-mesh"),
    ),
    (
        rules.images_are_pinned,
        "no version",
        lambda m: main_container(triton(m)).update(image="triton:latest"),
    ),
    (
        rules.selectors_are_exact,
        "Service",
        lambda m: of(m, "Service", "prompt")["spec"]["selector"].update({"app.kubernetes.io/name": "safety"}),
    ),
    (
        rules.selectors_are_exact,
        "its selector",
        lambda m: prompt(m)["spec"]["selector"].update(matchLabels={"app.kubernetes.io/component": "server"}),
    ),
    (
        rules.selectors_are_exact,
        "Budget",
        lambda m: of(m, "PodDisruptionBudget", "prompt")["spec"].pop("selector"),
    ),
    (rules.services_are_headless, "headless", lambda m: of(m, "Service", "prompt")["spec"].pop("clusterIP")),
    (
        rules.services_are_headless,
        "headless",
        lambda m: of(m, "Service", "gateway")["spec"].update(type="LoadBalancer"),
    ),
    (
        rules.services_are_headless,
        "port 80",
        lambda m: of(m, "Service", "prompt")["spec"]["ports"][0].update(port=80),
    ),
    (
        rules.services_are_headless,
        "outside",
        lambda m: of(m, "ConfigMap", config_name(m)).update(kind="Ingress"),
    ),
    (
        rules.calls_are_denied_by_default,
        "denies",
        lambda m: of(m, "NetworkPolicy", "default-deny")["spec"].update(egress=[{}]),
    ),
    (
        rules.triton_is_the_meshs_own,
        "opens",
        lambda m: triton_ingress(m)[0]["ports"].append({"port": "http"}),
    ),
    (rules.triton_is_the_meshs_own, "every port", lambda m: triton_ingress(m)[0].pop("ports")),
    (
        rules.triton_is_the_meshs_own,
        "more than pods",
        lambda m: triton_ingress(m)[0].update({"from": [{"namespaceSelector": {}}]}),
    ),
    (rules.triton_is_the_meshs_own, "more than pods", lambda m: triton_ingress(m)[0].pop("from")),
    (
        rules.triton_is_the_meshs_own,
        "no servers",
        lambda m: triton_ingress(m)[0].update({"from": [{"podSelector": {}}]}),
    ),
    (
        rules.triton_is_the_meshs_own,
        "opens",
        lambda m: of(m, "NetworkPolicy", "gateway")["spec"].update(podSelector={}, ingress=[{}]),
    ),
    (
        rules.triton_has_what_it_needs,
        "load API",
        lambda m: main_container(triton(m))["args"].remove("--model-control-mode=none"),
    ),
    (
        rules.triton_has_what_it_needs,
        "/dev/shm",
        lambda m: [v.get("emptyDir", {}).pop("medium", None) for v in pod_of(triton(m))["volumes"]],
    ),
    (rules.triton_has_what_it_needs, "init container", lambda m: pod_of(triton(m)).pop("initContainers")),
    (
        rules.triton_has_what_it_needs,
        "Triton reads",
        lambda m: main_container(triton(m))["args"].__setitem__(0, "--model-repository=/models"),
    ),
    (
        rules.triton_has_what_it_needs,
        "read-only",
        lambda m: main_container(triton(m))["volumeMounts"][0].pop("readOnly"),
    ),
]


def config_name(manifests: Manifests) -> str:
    return str(next(manifests.of("ConfigMap"))["metadata"]["name"])


@pytest.mark.parametrize(
    ("rule", "says", "break_it"), BREACHES, ids=[f"{r.__name__}-{s}" for r, s, _ in BREACHES]
)
def test_rule_finds_a_breach(broken: Manifests, rule: rules.Rule, says: str, break_it: Break) -> None:
    break_it(broken)
    breaches = list(rule(broken))
    assert any(says in breach for breach in breaches), breaches


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(rules.RULES)


def test_schema_refuses_an_unknown_field(broken: Manifests) -> None:
    main_container(prompt(broken))["readinesProbe"] = {}
    assert any("readinesProbe" in breach for breach in schema.check(prompt(broken)))


def test_schema_refuses_a_wrong_type(broken: Manifests) -> None:
    prompt(broken)["spec"]["replicas"] = "two"
    assert list(schema.check(prompt(broken)))
