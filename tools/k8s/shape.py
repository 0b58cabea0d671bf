"""The manifests against the code: every server is deployed, and its settings read the environment it gets.

Each server's own Settings class is made from the rendered environment, so what is checked is what the server will see.
"""

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from pydantic import ValidationError

from services.models.catalogue import read_catalogue
from services.models.entry import Residency
from services.runtime.server import CLOSE_SECONDS, ServerSpec
from services.runtime.settings import ServerSettings, TritonSettings
from tools.k8s.manifests import (
    Manifest,
    Manifests,
    bytes_of,
    label_of,
    main_container,
    pod_labels,
    pod_of,
    ports_of,
    seconds_before_term,
    selects,
)
from tools.k8s.render import ROOT

OURS = ("VMESH_", "OTEL_")
NOT_SERVERS = frozenset({"runtime", "local"})
CLOSING_SECONDS = 5.0  # after the drain, for stores and channels
TRITON_EXIT_FLAG = "--exit-timeout-secs="


@dataclass(frozen=True)
class Server:
    """One server of the mesh as the code has it."""

    name: str
    module: str
    settings: type[ServerSettings]

    def spec(self, settings: ServerSettings) -> ServerSpec:
        """Return what the server is run from."""
        made = importlib.import_module(f"{self.module}.service").spec(settings)
        assert isinstance(made, ServerSpec), f"{self.module}.service.spec returned {made!r}"
        return made

    def variables(self) -> dict[str, str]:
        """Return the environment variables its settings read, each with its field."""
        prefix = self.settings.model_config["env_prefix"]
        return {
            str(field.validation_alias or f"{prefix}{name.upper()}"): name
            for name, field in self.settings.model_fields.items()
        }


def servers(root: Path = ROOT) -> dict[str, Server]:
    """Return every package of the tree that runs as a server, by name."""
    mains = [*root.glob("services/*/__main__.py"), *root.glob("router/__main__.py")]
    modules = {path.parent.name: ".".join(path.parent.relative_to(root).parts) for path in mains}
    return {
        name: Server(name, module, importlib.import_module(f"{module}.settings").Settings)
        for name, module in sorted(modules.items())
        if name not in NOT_SERVERS
    }


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace the environment while the body runs."""
    with mock.patch.dict(os.environ, variables, clear=True):
        yield


def check_shape(manifests: Manifests, code: Mapping[str, Server]) -> Iterator[str]:
    """Yield one sentence for each place where the manifests and the code disagree."""
    deployed = manifests.servers()
    for name in sorted(code.keys() - deployed.keys()):
        yield f"Deployment/{name}: is missing, {code[name].module} is a server"
    for name in sorted(deployed.keys() - code.keys()):
        yield f"Deployment/{name}: there is no server of that name"
    yield from check_variables(manifests, code)
    for name in sorted(code.keys() & deployed.keys()):
        yield from check_server(manifests, code[name], deployed[name])
    yield from check_triton(manifests, code)


def check_variables(manifests: Manifests, code: Mapping[str, Server]) -> Iterator[str]:
    """Every variable of ours in a pod's environment is one that some server reads."""
    known = {variable for server in code.values() for variable in server.variables()}
    given = {name for each in manifests.servers().values() for name in manifests.environment(each)}
    for variable in sorted(given - known):
        whose = (
            "read by no server's settings"
            if variable.startswith(OURS)
            else "neither ours nor OpenTelemetry's"
        )
        yield f"mesh.env: {variable} is {whose}"


def check_server(manifests: Manifests, server: Server, deployment: Manifest) -> Iterator[str]:
    """One server: its module, its settings made from the rendered environment, its addresses, probes and drain."""
    name, container, ports = label_of(deployment), main_container(deployment), ports_of(deployment)
    if [*container["command"], *container["args"]] != ["python", "-m", server.module]:
        yield f"{name}: runs {container['args']}, the server is {server.module}"
    variables = manifests.environment(deployment)
    for variable, field in server.variables().items():
        if field.endswith("_address"):
            yield from check_address(manifests, name, variable, variables.get(variable))
    try:
        with environment(variables):
            settings = server.settings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        yield f"{name}: its settings refuse the environment: {problems}"
        return
    if settings.listen != f"0.0.0.0:{ports['grpc']}":
        yield f"{name}: listens on {settings.listen}, the pod's port is {ports['grpc']}"
    if settings.metrics_port != ports["metrics"]:
        yield f"{name}: serves metrics on {settings.metrics_port}, the pod's port is {ports['metrics']}"
    if str(settings.home) not in {mount["mountPath"] for mount in container["volumeMounts"]}:
        yield f"{name}: keeps its files in {settings.home}, where no volume is mounted"
    if not settings.blob_url:
        yield f"{name}: keeps media in a folder that no other pod sees: set VMESH_BLOB_URL"
    needs = seconds_before_term(container) + settings.grace_seconds + CLOSE_SECONDS + CLOSING_SECONDS
    if pod_of(deployment)["terminationGracePeriodSeconds"] < needs:
        yield f"{name}: is killed before its drain can end, which takes up to {needs:g} s"
    served = [service.full_name for service in server.spec(settings).services]
    if container["readinessProbe"]["grpc"]["service"] not in served:
        yield f"{name}: readiness asks for {container['readinessProbe']['grpc']['service']}, it serves {served}"


def check_address(manifests: Manifests, name: str, variable: str, address: str | None) -> Iterator[str]:
    """One address: set, and a port of a Service that is there."""
    if address is None:
        yield f"{name}: {variable} is not set in mesh.env"
        return
    scheme, _, target = address.partition(":///")
    host, _, port = target.partition(":")
    service = manifests.named("Service", host)
    ports = {each["name"]: str(each["port"]) for each in service["spec"]["ports"]} if service else {}
    if scheme != "dns" or ports.get("grpc") != port:
        yield f"{name}: {variable}={address} is not dns:///<a Service>:<its gRPC port> ({host} has {ports})"


def check_triton(manifests: Manifests, code: Mapping[str, Server]) -> Iterator[str]:
    """Triton: exactly the servers that call it may reach it, its models fit its memory, its drain fits its grace."""
    triton, policy = manifests.named("Deployment", "triton"), manifests.named("NetworkPolicy", "triton")
    if triton is None or policy is None:
        yield "triton: its Deployment or its NetworkPolicy is missing"
        return
    grpc_rule = next(rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "grpc")
    allowed = {
        name
        for name, deployment in manifests.servers().items()
        if any(selects(peer.get("podSelector"), pod_labels(deployment)) for peer in grpc_rule["from"])
    }
    callers = {name for name, server in code.items() if issubclass(server.settings, TritonSettings)}
    if allowed != callers:
        yield f"NetworkPolicy/triton: lets {sorted(allowed)} in, the callers are {sorted(callers)}"
    pod, container = pod_of(triton), main_container(triton)
    memory = [
        volume["emptyDir"]
        for volume in pod["volumes"]
        if volume.get("emptyDir", {}).get("medium") == "Memory"
    ]
    pinned = [model for model in read_catalogue().values() if model.residency is Residency.PINNED]
    needed = sum(model.memory_mib for model in pinned) * 2**20
    needed += sum(bytes_of(volume["sizeLimit"]) for volume in memory)
    if bytes_of(container["resources"]["limits"]["memory"]) < needed:
        yield f"Deployment/triton: the pinned models and shared memory need {needed / 2**30:.1f} GiB"
    flag = next((argument for argument in container["args"] if argument.startswith(TRITON_EXIT_FLAG)), None)
    drain = float(flag.removeprefix(TRITON_EXIT_FLAG)) if flag else 30.0  # Triton's own default
    needs = seconds_before_term(container) + drain + CLOSING_SECONDS
    if pod["terminationGracePeriodSeconds"] < needs:
        yield f"Deployment/triton: is killed before its drain can end, which takes up to {needs:g} s"
