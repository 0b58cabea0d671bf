"""A language model outside the mesh, at any endpoint that speaks OpenAI's HTTP: its own, vLLM, llama.cpp, Ollama.

https://platform.openai.com/docs/api-reference/chat; only what all of them know is sent. The endpoint's own words are
never passed on: they may repeat a prompt or a key.
"""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.language_model.interface import Choice, Completion, Message, user

MOST_BYTES = 1 << 20  # of an answer; a few hundred tokens are a few kilobytes
CHOICE_TOKENS = 16
WHO = "the language model's endpoint"
# What a person has to mend, besides faults of the endpoint, which pass.
OPERATOR = "{who} refuses requests (HTTP {status}); the operator has to look at its address, model and key"


class Endpoint:
    """Asks an endpoint; an async context manager that owns its connections."""

    def __init__(self, url: str, model: str, key: str) -> None:
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        headers = {"Accept-Encoding": "identity"}  # so that MOST_BYTES bounds what is in memory, too
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(headers=headers, follow_redirects=False, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def name(self) -> str:
        """The name that the settings give."""
        return self._model

    @property
    def writes(self) -> bool:
        """True: whoever runs the mesh chose it for that."""
        return True

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        most_tokens: int,
        seconds: float,
        seed: int = 0,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
    ) -> Completion:
        """Return what comes next; see `LanguageModel`."""
        asked: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": one.role.value, "content": one.content} for one in messages],
            "max_tokens": most_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if stop:
            asked["stop"] = list(stop)
        try:
            async with asyncio.timeout(deadline.budget(seconds)):
                return _completion(await self._post(asked))
        except TimeoutError:
            raise MeshError(
                errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, f"{WHO} did not answer in time"
            ) from None

    async def choose(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        seconds: float,
        neutral: Sequence[Message] = (),
    ) -> Choice:
        """Ask for one of the answers by its number; see `LanguageModel`. An endpoint tells no margin."""
        listed = "\n".join(f"{number}. {text}" for number, text in enumerate(choices, 1))
        question = user(f"Choose one of these by its number. Answer with the number alone.\n{listed}")
        answer = await self.complete([*messages, question], most_tokens=CHOICE_TOKENS, seconds=seconds)
        number = answer.text.strip().rstrip(".")
        numbers = {str(index + 1): index for index in range(len(choices))}
        if number not in numbers:
            raise _rubbish()
        return Choice(numbers[number], choices[numbers[number]], None)

    async def _post(self, asked: dict[str, Any]) -> Any:
        """Send a request and return its JSON, read up to MOST_BYTES."""
        try:
            # The deadline is that of the whole call, around this.
            async with self._http.stream("POST", self._url, json=asked, timeout=None) as response:
                if response.status_code != HTTPStatus.OK:
                    raise _refusal(response.status_code)
                body = b""
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise _rubbish()
            return json.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MeshError(
                errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
                f"{WHO} cannot be reached",
                retry_after=DEFAULT_RETRY_SECONDS,
            ) from error
        except (ValueError, RecursionError) as error:
            raise _rubbish() from error


def _completion(answer: Any) -> Completion:
    try:
        first = answer["choices"][0]
        text, reason = first["message"]["content"], first.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _rubbish() from error
    if not isinstance(text, str):
        raise _rubbish()
    return Completion(text, ended=reason == "stop")


def _refusal(status: int) -> MeshError:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return MeshError(
            errors_pb2.ERROR_REASON_OVERLOADED,
            f"{WHO} takes no more requests now",
            retry_after=DEFAULT_RETRY_SECONDS,
        )
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        message = OPERATOR.format(who=WHO, status=status)
        return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message)
    return MeshError(
        errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
        f"{WHO} is in trouble (HTTP {status})",
        retry_after=DEFAULT_RETRY_SECONDS,
    )


def _rubbish() -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, f"{WHO} gave an answer that cannot be read")
