"""CheckPrompt: the part of SafetyService that judges what people ask for."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc

from scrollintel.visual.v1 import safety_finding_pb2, safety_pb2
from services.runtime import identity
from services.runtime.admission import Admission
from services.runtime.turns import in_turn
from services.safety.category import Action, Category
from services.safety.language_checker import LanguageChecker
from services.safety.personal import Personal, read
from services.safety.policy import Policy, strongest
from services.safety.policybook import TenantPolicy
from services.safety.policyfile import PolicyFile
from services.safety.privacy.redactor import shipped
from services.safety.resemblance import Resemblance
from services.safety.rules import RuleSet
from services.safety.settings import Settings
from services.safety.unchecked import checking, late
from services.safety.verdict import Check, Went, to_verdict

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class PromptRpcs:
    """Judges prompts by the rules and, where that is configured, by what they resemble and what a language model says."""

    _rules: RuleSet
    _policies: PolicyFile
    _resemblance: Resemblance | None
    _language: LanguageChecker | None
    _prompts: Admission
    _settings: Settings

    async def CheckPrompt(
        self, request: safety_pb2.CheckPromptRequest, context: Context
    ) -> safety_pb2.CheckPromptResponse:
        """Check a prompt against every rule, and the negative prompt against those on injection.

        What the rules do not refuse is compared with exemplars and labelled by a language model, too, where that is
        configured, and personal data is looked for where the tenant's policy says what is done about it.
        """
        work, told = partial(self._checked, request), partial(late, "the prompt")
        return await in_turn(self._prompts, self._settings.prompt_seconds, work, told)

    async def _checked(self, request: safety_pb2.CheckPromptRequest) -> safety_pb2.CheckPromptResponse:
        with checking("the prompt"):
            held = self._policies.of(identity.current().tenant)
            ruled = await asyncio.to_thread(self._read, request.prompt, request.negative_prompt, held)
            texts = [request.prompt, request.negative_prompt]
            personal = await asyncio.to_thread(_personal, texts, held.policy)
            checks = [ruled, *await self._compared(request.prompt, ruled, held)]
            # The model may be outside the mesh, where nothing goes that the policy takes out.
            checks += await self._labelled(personal.texts[0], [*checks, *personal.checks], held)
            answer = safety_pb2.CheckPromptResponse(
                verdict=to_verdict([*checks, *personal.checks], held.policy)
            )
            if answer.verdict.action == safety_finding_pb2.SAFETY_ACTION_REDACT:
                answer.redacted_prompt, answer.redacted_negative_prompt = personal.texts
            return answer

    async def _compared(self, prompt: str, read: Check, held: TenantPolicy) -> list[Check]:
        """Compare a prompt with exemplars, unless the rules refuse it already; empty where that is not configured.

        What the tenant allows is left out of the comparison.
        """
        if self._resemblance is None:
            return []
        if strongest(held.policy.judge(read.signals)) is Action.BLOCK:
            return [Check(self._resemblance.checker, went=Went.SKIPPED)]
        plain = await asyncio.to_thread(self._rules.disguises.plain, prompt)
        for _, phrase in held.allowed:
            plain = phrase.taken_out(plain)
        return [Check(self._resemblance.checker, await self._resemblance.check(plain))]

    async def _labelled(self, prompt: str, before: Sequence[Check], held: TenantPolicy) -> list[Check]:
        """Ask the language model for a label, unless the checks before refuse the prompt; empty where none is configured.

        It reads the prompt in its own letters, without what the tenant allows.
        """
        if self._language is None:
            return []
        signals = [signal for check in before for signal in check.signals]
        if strongest(held.policy.judge(signals)) is Action.BLOCK:
            return [Check(self._language.checker, went=Went.SKIPPED)]
        native = await asyncio.to_thread(self._rules.disguises.native, prompt)
        text = native[0] if native else await asyncio.to_thread(self._rules.disguises.plain, prompt)
        for _, phrase in held.allowed:
            text = phrase.taken_out(text) if phrase.native is bool(native) else text
        return [Check(self._language.checker, await self._language.check(text))]

    def _read(self, prompt: str, negative_prompt: str, held: TenantPolicy) -> Check:
        """Read a prompt by the rules and by what the tenant forbids and allows besides."""
        signals = self._rules.check(prompt, extra=held.terms, allowed=held.allowed)
        if negative_prompt:
            signals += self._rules.check(
                negative_prompt, [Category.PROMPT_INJECTION], extra=held.terms, allowed=held.allowed
            )
        return Check(self._rules.checker, list(dict.fromkeys(signals)))


def _personal(texts: Sequence[str], policy: Policy) -> Personal:
    return read(texts, shipped(), policy) if policy.reads_personal_data else Personal([], texts)
