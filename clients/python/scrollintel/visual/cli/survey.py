"""A look at every server of a mesh at once: health, services, and which rpcs are served."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from scrollintel.visual import running
from scrollintel.visual.cli import reflection
from scrollintel.visual.cli.reflection import Rpc


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it answered."""

    name: str
    address: str
    health: str
    """`serving`, `not serving` or `no answer`."""
    rpcs: tuple[Rpc, ...] = ()
    unserved: tuple[Rpc, ...] = ()
    """The rpcs that answer UNIMPLEMENTED in this version."""


async def look(addresses: Mapping[str, str]) -> list[Server]:
    """Return what every server answers, in the order given."""
    return list(await asyncio.gather(*(_look_at(name, address) for name, address in addresses.items())))


async def _look_at(name: str, address: str) -> Server:
    async with grpc.aio.insecure_channel(address) as channel:
        serving = await running.health_over(channel)
        if serving is None:
            return Server(name, address, "no answer")
        health = "serving" if serving else "not serving"
        try:
            found = await reflection.rpcs(channel)
        except grpc.aio.AioRpcError:
            return Server(name, address, health)
        # A server answers the standard health question for each of its rpcs by its full name.
        served = await asyncio.gather(
            *(running.health_over(channel, f"{rpc.service}/{rpc.name}") for rpc in found)
        )
        unserved = tuple(rpc for rpc, yes in zip(found, served, strict=True) if serving and not yes)
        return Server(name, address, health, tuple(found), unserved)
