"""The connection that all calls share: one channel, and the stub of every service on it."""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from scrollintel.visual import exceptions
from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceStub
from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceStub
from scrollintel.visual.v1.models_pb2_grpc import ModelServiceStub
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceStub
from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceStub
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from scrollintel.visual.v1.safety_pb2_grpc import SafetyServiceStub
from scrollintel.visual.v1.usage_pb2_grpc import UsageServiceStub

if TYPE_CHECKING:  # the asynchronous stubs exist for type checkers alone
    from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceAsyncStub
    from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceAsyncStub
    from scrollintel.visual.v1.models_pb2_grpc import ModelServiceAsyncStub
    from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceAsyncStub
    from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceAsyncStub
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub
    from scrollintel.visual.v1.safety_pb2_grpc import SafetyServiceAsyncStub
    from scrollintel.visual.v1.usage_pb2_grpc import UsageServiceAsyncStub

ADDRESS = "127.0.0.1:50051"
READ_SECONDS = 30.0
PAGE = 200  # entries; as many as a page has

# The pings are as often as those between the mesh's own servers.
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class Connection:
    """A channel to a mesh while it is entered; `timeout` and `credentials` as `VisualClient` tells them."""

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        api_key: str | None = None,
        timeout: float | None = 120.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._credentials = credentials
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        if self._credentials:
            self._channel = grpc.aio.secure_channel(self.address, self._credentials, options=OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(self.address, options=OPTIONS)
        self._generations: GenerationServiceAsyncStub = GenerationServiceStub(self._channel)
        self._assets: AssetServiceAsyncStub = AssetServiceStub(self._channel)
        self._models: ModelServiceAsyncStub = ModelServiceStub(self._channel)
        self._router: RouterServiceAsyncStub = RouterServiceStub(self._channel)
        self._usage: UsageServiceAsyncStub = UsageServiceStub(self._channel)
        self._prompts: PromptServiceAsyncStub = PromptServiceStub(self._channel)
        self._quality: QualityServiceAsyncStub = QualityServiceStub(self._channel)
        self._safety: SafetyServiceAsyncStub = SafetyServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; generations that have not ended are stopped."""
        if self._channel:
            await self._channel.close(None)
            self._channel = None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise exceptions.from_rpc(error, self.address) from error
