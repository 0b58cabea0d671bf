"""A request's tensors in, and its end out: what every decoupled `model.py` says to Triton.

The one serving module that imports `triton_python_backend_utils`, which exists inside Triton alone.
"""

import os
from collections.abc import Callable
from typing import Any

import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray


class Cancelled(Exception):  # noqa: N818 - not an error
    """The caller has gone."""


def values(request: Any, name: str) -> NDArray[Any] | None:
    """The tensor's values as they are; None for an optional tensor that is not there."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def first(request: Any, name: str, default: Any = None) -> Any:
    """The single value of a tensor of shape [1]. Raises ValueError when it is missing or not single."""
    given = values(request, name)
    if given is None:
        if default is None:
            raise ValueError(f"{name}: is required")
        return default
    if given.size != 1:
        raise ValueError(f"{name}: must hold one value; {given.size} given")
    return given.ravel()[0]


def text(request: Any, name: str, default: str | None = None) -> str:
    """The single text of a BYTES tensor of shape [1]. Raises ValueError, also where it is not UTF-8."""
    given = first(request, name, default)
    try:
        return given if isinstance(given, str) else given.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: must be UTF-8") from None


def stop_if_cancelled(request: Any, when: str) -> None:
    """Raise Cancelled if the caller cancelled, went away or ran out of time. `when` ends the text: "after 3 steps"."""
    if request.is_cancelled():
        raise Cancelled(f"cancelled {when}")


def send(sender: Any, tensors: dict[str, NDArray[Any]], *, last: bool) -> None:
    """Send one response of a decoupled request; the last one closes it."""
    response = pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in tensors.items()])
    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)


def end(sender: Any, message: str, code: int) -> None:
    """Close a decoupled request with an error.

    A caller that never hears the end waits for ever. So where even that cannot be sent this process gives up: without
    it Triton fails its requests at once, and the supervisor starts another.
    """
    try:
        error = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
        sender.send(error, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception:
        os._exit(1)


def end_with(
    sender: Any,
    error: BaseException,
    *,
    doing: str,
    remedy: str,
    is_out_of_memory: Callable[[BaseException], bool],
    unavailable: tuple[type[BaseException], ...] = (),
) -> None:
    """Close a decoupled request with the verdict on what its work raised; the server's own failures are logged.

    Cancelled -> CANCELLED. Out of memory -> UNAVAILABLE with "out of memory: <remedy>". Those in `unavailable` (the
    batcher's Full and Closed) -> UNAVAILABLE. Else INTERNAL with "<doing> failed: ...". Check the inputs before the
    work, and end a ValueError of theirs with INVALID_ARG: one that the work itself raises is no fault of the caller.
    """
    codes = pb_utils.TritonError
    if isinstance(error, Cancelled):
        end(sender, str(error), codes.CANCELLED)
    elif isinstance(error, unavailable):
        end(sender, str(error), codes.UNAVAILABLE)
    elif is_out_of_memory(error):
        end(sender, f"out of memory: {remedy}", codes.UNAVAILABLE)
        pb_utils.Logger.log_error(f"{doing}: out of memory: {error!r}")
    else:
        end(sender, f"{doing} failed: {error}", codes.INTERNAL)
        pb_utils.Logger.log_error(f"{doing} failed: {error!r}")
