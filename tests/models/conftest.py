from collections.abc import AsyncIterator

import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient

from services.local.triton import Triton
from tests.triton_fixture import model_repository, triton

__all__ = ["model_repository", "triton"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(triton: Triton) -> AsyncIterator[InferenceServerClient]:
    client = InferenceServerClient(triton.grpc_address)
    yield client
    await client.close()
