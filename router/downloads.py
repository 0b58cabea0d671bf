"""Fetches what a provider made: nothing but the address it gave, never from inside our own network, never more than asked."""

import asyncio
import ipaddress
import socket
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urljoin

import httpx

from router.media_types import media_type_of
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

MAX_REDIRECTS = 3
ATTEMPTS = 3
"""How often a file is asked for whose connection broke: reading again costs nothing."""
PAUSE_SECONDS = 0.2
"""Before the second attempt, and twice as long before each further one."""
UNICAST = ipaddress.ip_network("2000::/3")
"""The only IPv6 addresses that are given to networks at large (iana.org/assignments/ipv6-address-space)."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses as a network without IPv4 writes them, inside ones too (RFC 6052)."""
REDIRECTS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}


class _AgainError(Exception):
    """The file did not come, and may come when it is asked for again."""


async def download(
    client: httpx.AsyncClient, url: str, limit: int, timeout: float, *, api: str = ""
) -> tuple[bytes, str]:
    """Return a file of at most `limit` bytes, and its media type read from the bytes themselves.

    Only https and public addresses are followed, also by redirects, and whatever is at scheme, host and port of `api`:
    where the operator says that the provider is. When that is this machine, all of this machine is. Raises MeshError: MODEL_FAILED when it is no PNG, JPEG,
    WebP, MP4 or WebM, too large, or at an address that is not followed; MODEL_UNAVAILABLE when it cannot be fetched;
    DEADLINE_EXCEEDED after `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            data = await _persistently(client, url, limit, httpx.URL(api))
    except TimeoutError:
        message = "what the provider made was not downloaded in time"
        raise MeshError(errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, message) from None
    media_type = media_type_of(data)
    if not media_type:
        raise _failed("is neither a picture nor a video")
    return data, media_type


def is_local(url: httpx.URL) -> bool:
    """Tell whether a URL names this very machine by its address or as localhost."""
    host = url.host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _persistently(client: httpx.AsyncClient, url: str, limit: int, api: httpx.URL) -> bytes:
    for attempt in range(ATTEMPTS):
        await asyncio.sleep(PAUSE_SECONDS * 2 ** (attempt - 1) if attempt else 0)
        try:
            return await _followed(client, url, limit, api)
        except (_AgainError, httpx.HTTPError):
            continue
    message = "what the provider made cannot be downloaded; try again shortly"
    raise MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=DEFAULT_RETRY_SECONDS)


async def _followed(client: httpx.AsyncClient, url: str, limit: int, api: httpx.URL) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        request = await _request(client, url, api)
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if response.status_code not in REDIRECTS:
                return await _read(response, limit)
            url = _joined(url, response.headers.get("location", ""))
        finally:
            await response.aclose()
    raise _failed("is redirected too often")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _failed("is redirected to no usable address") from None


async def _request(client: httpx.AsyncClient, url: str, api: httpx.URL) -> httpx.Request:
    """Return the request for a URL, bound to an address that was looked at: a name may point elsewhere a moment later."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise _failed("has no usable address") from None
    address = await _address(target, api)
    headers = {
        "Host": target.netloc.decode("ascii"),
        "Accept-Encoding": "identity",
        "Connection": "close",  # kept open, it would serve other names at the address, whose certificate nobody saw
    }
    bound = target.copy_with(host=address)
    return client.build_request("GET", bound, headers=headers, extensions={"sni_hostname": target.host})


async def _address(url: httpx.URL, api: httpx.URL) -> str:
    if url.scheme not in ("https", "http") or not url.host or url.userinfo:
        raise _failed("has no usable address")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise _AgainError from None
    except UnicodeError:  # a label that is empty or too long
        raise _failed("has no usable address") from None
    addresses = [_parsed(str(place[0])) for *_, place in found]
    here = _origin(url) == _origin(api) or (
        is_local(api) and all(address.is_loopback for address in addresses)
    )
    if not addresses or not (here or all(map(_is_public, addresses))):
        raise _failed("is at an address that is not public")
    if url.scheme != "https" and not here:
        raise _failed("is not offered by https")
    return str(addresses[0])


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _parsed(text: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if address in NAT64:
        address = IPv4Address(address.packed[-4:])
    if isinstance(address, IPv6Address) and (address not in UNICAST or address.sixtofour):
        return False
    return address.is_global and not address.is_multicast


async def _read(response: httpx.Response, limit: int) -> bytes:
    status = response.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise _AgainError
    if status != HTTPStatus.OK:
        raise _failed("is not where the provider said")
    promised = response.headers.get("content-length", "")
    if promised.isdigit() and int(promised) > limit:
        raise _failed("is too large")
    data = bytearray()
    async for chunk in response.aiter_raw():  # as it is sent: what is packed small could be huge
        data += chunk
        if len(data) > limit:
            raise _failed("is too large")
    if promised.isdigit() and len(data) != int(promised):
        raise _AgainError
    return bytes(data)


def _failed(what: str) -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_MODEL_FAILED,
        f"what the provider made {what}; try again or another model",
        retry_after=DEFAULT_RETRY_SECONDS,
    )
