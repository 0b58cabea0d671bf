"""What a server offers, asked of the server itself by gRPC reflection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

SECONDS = 5.0
OURS = "scrollintel.visual."


@dataclass(frozen=True, slots=True)
class Rpc:
    """One rpc of a service."""

    service: str
    name: str
    request: str
    """Name of the request message, without its package."""
    response: str
    """Name of the response message, without its package."""
    client_streaming: bool
    server_streaming: bool

    @property
    def kind(self) -> str:
        """How messages flow."""
        match self.client_streaming, self.server_streaming:
            case False, False:
                return "unary"
            case False, True:
                return "server stream"
            case True, False:
                return "client stream"
            case _:
                return "bidirectional"


async def rpcs(channel: grpc.aio.Channel) -> list[Rpc]:
    """Return every rpc of the mesh's own services on a server, by service in the server's order.

    Raises:
        grpc.aio.AioRpcError: the server does not answer or offers no reflection.
    """
    names = [s.name for s in (await _ask(channel, list_services="")).list_services_response.service]
    found: list[Rpc] = []
    for name in sorted(n for n in names if n.startswith(OURS)):
        answer = await _ask(channel, file_containing_symbol=name)
        for packed in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(packed)
            found += [
                _rpc(name, method)
                for service in file.service
                if f"{file.package}.{service.name}" == name
                for method in service.method
            ]
    return found


def _rpc(service: str, method: descriptor_pb2.MethodDescriptorProto) -> Rpc:
    return Rpc(
        service=service,
        name=method.name,
        request=method.input_type.rsplit(".", 1)[-1],
        response=method.output_type.rsplit(".", 1)[-1],
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )


async def _ask(channel: Any, **question: Any) -> Any:
    async def questions() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(**question)

    # The types of the stub know only the synchronous channel.
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(questions(), timeout=SECONDS)
    answer = await call.read()
    call.cancel()
    return answer
