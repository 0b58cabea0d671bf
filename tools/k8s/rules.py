"""What every rendering must keep to. A rule yields one sentence per breach: the object, then what is wrong. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator

from tools.k8s.manifests import (
    Manifest,
    Manifests,
    label_of,
    main_container,
    pod_labels,
    pod_of,
    ports_of,
    selects,
)

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
VOLUMES = ("emptyDir", "persistentVolumeClaim", "secret")
UNTAGGED = ("", "latest")


def containers_of(deployment: Manifest) -> list[Manifest]:
    """Return every container of a Deployment's pods, those that only start it included."""
    pod = pod_of(deployment)
    return [*pod.get("initContainers", []), *pod["containers"]]


def objects_are_ours(manifests: Manifests) -> Iterator[str]:
    """One object per kind and name, and all in the mesh's namespace."""
    for name, times in Counter(label_of(each) for each in manifests.objects).items():
        if times > 1:
            yield f"{name}: is there {times} times"
    for each in manifests.objects:
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != "visual-mesh":
            yield f"{label_of(each)}: is not in the namespace visual-mesh"
    for each in manifests.of("Namespace"):
        if each["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{label_of(each)}: does not enforce the restricted pod security standard"


def probes_are_there(manifests: Manifests) -> Iterator[str]:
    """Startup, readiness and liveness, each on a port the container has."""
    for deployment in manifests.of("Deployment"):
        container, ports = main_container(deployment), ports_of(deployment)
        for probe in PROBES:
            asked = container.get(probe, {})
            port = asked.get("grpc", asked.get("httpGet", {})).get("port")
            if port not in ports.values() and port not in ports:
                yield f"{label_of(deployment)}: {probe} asks port {port}, the container has {ports}"


def probes_name_the_service(manifests: Manifests) -> Iterator[str]:
    """A server is started and ready when its wire service is, and alive when the process answers at all."""
    for deployment in manifests.servers().values():
        container = main_container(deployment)
        asked = {probe: container.get(probe, {}).get("grpc", {}).get("service") for probe in PROBES}
        if not asked["readinessProbe"] or asked["startupProbe"] != asked["readinessProbe"]:
            yield f"{label_of(deployment)}: startup and readiness must ask for the same, named service: {asked}"
        if asked["livenessProbe"] != "":
            yield f"{label_of(deployment)}: liveness must ask for the whole server (an empty service name)"


def pods_are_confined(manifests: Manifests) -> Iterator[str]:
    """The restricted pod security standard and a read-only root, with writes to named volumes only."""
    for deployment in manifests.of("Deployment"):
        name, pod = label_of(deployment), pod_of(deployment)
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{name}: must run as a numbered user other than root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: seccompProfile must be RuntimeDefault"
        for field in ("automountServiceAccountToken", "enableServiceLinks"):
            if pod.get(field) is not False:
                yield f"{name}: {field} must be false"
        for container in containers_of(deployment):
            own = container.get("securityContext", {})
            if (
                own.get("allowPrivilegeEscalation") is not False
                or own.get("readOnlyRootFilesystem") is not True
            ):
                yield f"{name}: {container['name']} may gain privileges or write to its root"
            if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
                yield f"{name}: {container['name']} must drop ALL capabilities and add none"
        for volume in pod.get("volumes", []):
            if not any(kind in volume for kind in VOLUMES):
                yield f"{name}: volume {volume['name']} is none of {', '.join(VOLUMES)}"
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{name}: volume {volume['name']} has no sizeLimit: it could fill the node"


def resources_are_bounded(manifests: Manifests) -> Iterator[str]:
    """CPU and memory are requested, memory is limited; CPU is not, since throttling would be tail latency."""
    for deployment in manifests.of("Deployment"):
        for container in containers_of(deployment):
            resources = container.get("resources", {})
            for part, wanted in (("requests", {"cpu", "memory"}), ("limits", {"memory"})):
                if set(resources.get(part, {})) != wanted:
                    yield f"{label_of(deployment)}: {container['name']}: {part} must set {sorted(wanted)} and no more"


def volumes_have_one_pod(manifests: Manifests) -> Iterator[str]:
    """A claim for one pod is mounted by no more: the second would wait for it for ever, and hold up every rollout."""
    for deployment in manifests.of("Deployment"):
        spec = deployment["spec"]
        names = (
            volume.get("persistentVolumeClaim", {}).get("claimName")
            for volume in pod_of(deployment)["volumes"]
        )
        claims = [manifests.named("PersistentVolumeClaim", name) for name in names if name]
        if not any(claim and claim["spec"]["accessModes"] == ["ReadWriteOncePod"] for claim in claims):
            continue
        if spec.get("replicas", 1) > 1 or spec.get("strategy", {}).get("type") != "Recreate":
            yield f"{label_of(deployment)}: its volume is for one pod: it needs one replica and Recreate"


def images_are_pinned(manifests: Manifests) -> Iterator[str]:
    """Every image has a tag that says which it is."""
    for deployment in manifests.of("Deployment"):
        for container in containers_of(deployment):
            tag = container["image"].rpartition("/")[2].partition("@")[0].partition(":")[2]
            if tag in UNTAGGED and "@sha256:" not in container["image"]:
                yield f"{label_of(deployment)}: {container['name']}: image {container['image']} has no version"


def selectors_are_exact(manifests: Manifests) -> Iterator[str]:
    """What selects a Deployment's pods (itself, its Service, its budget, its spreading) selects no other's."""
    deployments = list(manifests.of("Deployment"))
    for owner in deployments:
        name, spec = owner["metadata"]["name"], owner["spec"]
        budget, service = manifests.named("PodDisruptionBudget", name), manifests.named("Service", name)
        selectors = {
            "its selector": spec["selector"],
            "its Service": service and {"matchLabels": service["spec"].get("selector", {"": "none"})},
            "its PodDisruptionBudget": budget and budget["spec"].get("selector"),
        } | {
            f"its spreading over {each['topologyKey']}": each.get("labelSelector")
            for each in pod_of(owner).get("topologySpreadConstraints", [])
        }
        for what, selector in selectors.items():
            taken = [
                each["metadata"]["name"]
                for each in deployments
                if selector and selects(selector, pod_labels(each))
            ]
            if taken != [name]:
                yield f"{label_of(owner)}: {what} takes the pods of {taken or 'none'}"


def services_are_headless(manifests: Manifests) -> Iterator[str]:
    """DNS answers with pods, on ports those pods have; nothing is opened to the outside of the cluster."""
    for service in manifests.of("Service"):
        name, spec = label_of(service), service["spec"]
        if spec.get("clusterIP") != "None" or spec.get("type", "ClusterIP") != "ClusterIP":
            yield f"{name}: must be headless (clusterIP: None)"
        deployment = manifests.named("Deployment", service["metadata"]["name"])
        ports = ports_of(deployment) if deployment else {}
        for port in spec["ports"]:
            # Behind a headless Service nothing translates ports: the one in DNS is the one that must be open.
            if ports.get(port["targetPort"]) != port["port"]:
                yield f"{name}: port {port['port']} to {port['targetPort']!r}, the pods have {ports}"
    for kind in ("Ingress", "Gateway", "HTTPRoute", "GRPCRoute"):
        for each in manifests.of(kind):
            yield f"{label_of(each)}: the base opens nothing to the outside; that is an overlay's decision"


def calls_are_denied_by_default(manifests: Manifests) -> Iterator[str]:
    """One policy takes every pod and allows nothing."""
    denies = any(
        policy["spec"].get("podSelector") == {}
        and set(policy["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
        for policy in manifests.of("NetworkPolicy")
    )
    if not denies:
        yield "NetworkPolicy: none denies all traffic of all pods by default"


def triton_is_the_meshs_own(manifests: Manifests) -> Iterator[str]:
    """Only servers of the mesh reach Triton's gRPC port and nobody its HTTP port: its load API runs code."""
    triton = manifests.named("Deployment", "triton")
    if triton is None:
        yield "Deployment/triton: is missing"
        return
    ports = ports_of(triton)
    servers = [pod_labels(each) for each in manifests.servers().values()]
    for policy in manifests.of("NetworkPolicy"):
        if not selects(policy["spec"].get("podSelector"), pod_labels(triton)):
            continue
        for rule in policy["spec"].get("ingress", []):
            opened = {ports.get(port.get("port"), port.get("port")) for port in rule.get("ports", [])}
            peers = rule.get("from", [])
            if opened == {ports["metrics"]} and peers:
                continue
            if opened != {ports["grpc"]}:
                yield f"{label_of(policy)}: opens {sorted(map(str, opened)) or 'every port'} of Triton"
            if not peers or any(set(peer) != {"podSelector"} for peer in peers):
                yield f"{label_of(policy)}: lets more than pods of this namespace reach Triton"
                continue
            for peer in peers:
                if not any(selects(peer["podSelector"], labels) for labels in servers):
                    yield f"{label_of(policy)}: {peer} is no server of the mesh"
                if selects(peer["podSelector"], {}):
                    yield f"{label_of(policy)}: {peer} takes pods that are no servers of the mesh"


def triton_has_what_it_needs(manifests: Manifests) -> Iterator[str]:
    """A memory volume for tensors, a repository that the builder filled where Triton looks for it, and no load API."""
    triton = manifests.named("Deployment", "triton")
    if triton is None:
        return
    pod, container = pod_of(triton), main_container(triton)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    memory = volumes.get(mounts.get("/dev/shm", {}).get("name", ""), {})  # noqa: S108 - the path Triton uses
    if memory.get("emptyDir", {}).get("medium") != "Memory":
        yield "Deployment/triton: /dev/shm must be a volume in memory; a pod has 64 MB otherwise"
    if "--model-control-mode=none" not in container["args"]:
        yield "Deployment/triton: its load API, which runs code, is on: set --model-control-mode=none"
    builders = [
        each for each in pod.get("initContainers", []) if each.get("args") == ["services.models.build"]
    ]
    if len(builders) != 1:
        yield "Deployment/triton: one init container must run services.models.build"
        return
    homes = {entry["name"]: entry["value"] for entry in builders[0].get("env", [])}
    home = homes.get("VMESH_HOME", "")
    if f"--model-repository={home}/model_repository" not in container["args"]:
        yield f"Deployment/triton: the builder writes to {home}/model_repository, Triton reads {container['args'][0]}"
    shared = next(
        (mount["name"] for mount in builders[0]["volumeMounts"] if mount["mountPath"] == home), None
    )
    if shared is None or mounts.get(home, {}).get("name") != shared or not mounts[home].get("readOnly"):
        yield f"Deployment/triton: builder and Triton must share the volume at {home!r}, Triton read-only"


Rule = Callable[[Manifests], Iterator[str]]

RULES: tuple[Rule, ...] = (
    objects_are_ours,
    probes_are_there,
    probes_name_the_service,
    pods_are_confined,
    resources_are_bounded,
    volumes_have_one_pod,
    images_are_pinned,
    selectors_are_exact,
    services_are_headless,
    calls_are_denied_by_default,
    triton_is_the_meshs_own,
    triton_has_what_it_needs,
)
