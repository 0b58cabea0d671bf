"""The file of paid models: what ships is right, what is wrong is refused with its line, what is missing is named."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args

import pytest
from openai.types import ImageModel
from pydantic import SecretStr

from router.configuration import ConfigurationError
from router.demand import Modality, Tier
from router.providers import load_providers, missing, read_providers, standing, variable
from router.settings import PROVIDERS_FILE, ProviderSettings
from router.snapshot import State

SHIPPED = {entry.name: entry for entry in load_providers(PROVIDERS_FILE)}
NEWEST = SHIPPED["openai/gpt-image-2"]


def changed(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    """The shipped file with one thing changed, and the line of that."""
    text = PROVIDERS_FILE.read_text()
    assert old in text
    path = tmp_path / "providers.yaml"
    path.write_text(text.replace(old, new, 1))
    return path, text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("draft: 0.006", "draft: -0.006", "draft: Input should be greater than or equal to 0"),
        ("usd: 0.12", "usd: -0.12", "usd: Input should be greater than or equal to 0"),
        ("usd: 0.12", "usd: .inf", "usd: Input should be a finite number"),
        ("usd: 0.12", "euro: 0.12", "euro: Extra inputs are not permitted"),
        ("durations: [4, 6, 8]", "durations: [4, 8, 6]", "durations must go up"),
        ("durations: [4, 6, 8]", "durations: [0]", "durations.0: Input should be greater than 0"),
        ("retires: 2026-12-01", "retires: soon", "retires: Input should be a valid date"),
        ("price: unknown", "price: free", "price: Input should be a valid dictionary"),
        ("retires: 2026-12-01", "retires: 2026-02-30", "retires: Input should be a valid date"),
        ("usd: 0.12", "usd: no", "usd: must be a number, not yes or no"),
        (
            "address: https://api.openai.com/v1",
            "address: api.openai.com",
            "address: must be an http or https",
        ),
        ("address: https://queue", "address: https://key@queue", "without a key in it"),
        ("limits: {images: 4}", "limits: {images: 5}", "midjourney makes at most 4 in one call, not 5"),
        ("durations: [4, 6, 8]", "durations: [4.5, 6]", "durations of paid models are whole seconds"),
        ("request: {audio: false}", "request: {duration: 8}", "request may not say duration, which"),
        ("fal-ai/pika/v2.2/text-to-video\n", "pika\n", "provider_model must begin with owner and app"),
        ("fal-ai/pika/v2.2/image-to", "fal-ai/other/v2.2/image-to", "edit_model must be of the app"),
        ("per: second", "per: month", "per: Input should be 'image' or 'second'"),
        ("needs: [openai_api_key]", "needs: [openai_key]", "no setting is called openai_key"),
        ("kind: pika", "kind: triton", "kind: Input should be 'openai', 'runway', 'pika' or 'midjourney'"),
        ("concurrency: 4", "concurrency: 0", "concurrency: Input should be greater than or equal to 1"),
        ("seconds: 40", "seconds: 0", "seconds_per_step: Input should be greater than 0"),
        ("{draft: low, standard: medium, high: high}", "{draft: low}", "qualities must hold high, standard"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(tmp_path, old, new, told):
    path, line = changed(tmp_path, old, new)
    with pytest.raises(ConfigurationError) as caught:
        load_providers(path)
    assert f"providers.yaml:{line}: " in str(caught.value)
    assert told in str(caught.value)


def test_the_second_of_two_models_of_one_name_is_refused(tmp_path):
    path, _ = changed(tmp_path, "model: gpt-image-2\n", "model: gpt-image-1.5\n")
    second = path.read_text().rindex("- model: gpt-image-1.5\n")
    line = path.read_text()[:second].count("\n") + 1
    with pytest.raises(
        ConfigurationError, match=f"providers.yaml:{line}: .*there is a backend openai/gpt-image-1.5"
    ):
        load_providers(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("        durations: [5] #", "        #", "durations must say which lengths of video it makes"),
        ("        price: unknown # 5", "        # 5", "price must say what it costs, or unknown"),
        ("        provider_model: gpt-image-2\n", "", "provider_model must be the provider's id"),
        (
            "            - {size: [1024, 1024], draft: 0.006, standard: 0.053, high: 0.211}\n",
            "",
            "price.sizes must hold each of sizes once and no other",
        ),
        (
            "        edits: true\n        by_name",
            "        edit_model: x\n        by_name",
            "edit_model is for a model",
        ),
    ],
)
def test_what_a_paid_model_has_to_say(tmp_path, old, new, told):
    with pytest.raises(ConfigurationError, match=told):
        load_providers(changed(tmp_path, old, new)[0])


def test_a_name_of_another_file_is_refused_with_the_line_of_the_second():
    line = PROVIDERS_FILE.read_text().split("- model: gpt-image-2\n")[0].count("\n") + 1
    with pytest.raises(
        ConfigurationError, match=f"providers.yaml:{line}: .*there is a backend openai/gpt-image-2"
    ):
        load_providers(PROVIDERS_FILE, taken={"openai/gpt-image-2"})


def test_the_ids_that_ship_are_those_of_the_providers_own_library():
    known = set(get_args(ImageModel))
    assert {entry.provider_model for entry in SHIPPED.values() if entry.kind == "openai"} <= known


def test_every_price_that_ships_says_where_and_when_it_was_read():
    for entry in SHIPPED.values():
        assert entry.price is not None
        if entry.price.known:
            assert entry.price.read <= datetime.now(UTC).date()
            assert "." in entry.price.source
            least, most = entry.pricing().range()
            assert 0 < least <= most < 1


def test_models_inherit_what_their_provider_says_and_count_as_one_step():
    assert (NEWEST.concurrency, NEWEST.queue) == (4, 16)
    assert NEWEST.address == "https://api.openai.com/v1"
    assert set(NEWEST.steps_by_tier().values()) == {1}
    assert NEWEST.remedy == "set VMESH_ROUTER_OPENAI_API_KEY"
    assert "say what it costs" in SHIPPED["openai/gpt-image-2.6-flare"].remedy
    assert NEWEST.pricing().usd(NEWEST.sizes[0], 2, Tier.HIGH) == pytest.approx(0.422)
    assert NEWEST.prior.seconds_per_step == 40
    assert SHIPPED["runway/gen4.5"].prior.seconds_per_step == pytest.approx(
        15 / 24
    )  # a frame, which it is reckoned in
    videos = [entry for entry in SHIPPED.values() if entry.modality is Modality.VIDEO]
    assert videos
    assert all(entry.durations for entry in videos)


def test_where_a_paid_model_stands():
    today = date(2026, 11, 23)
    dead, dying = SHIPPED["openai/dall-e-3"], SHIPPED["openai/gpt-image-1.5"]
    assert standing(dead, configured=True, today=today) is State.RETIRED
    assert standing(dying, configured=True, today=date(2026, 11, 30)) is State.READY
    assert standing(dying, configured=True, today=date(2026, 12, 1)) is State.RETIRED
    assert standing(NEWEST, configured=True, today=today) is State.READY
    assert standing(NEWEST, configured=False, today=today) is State.NOT_CONFIGURED
    unpriced = SHIPPED["openai/gpt-image-2.6-flare"]
    assert standing(unpriced, configured=True, today=today) is State.NOT_CONFIGURED


def test_a_missing_setting_is_told_as_the_variable_that_fills_it(monkeypatch):
    monkeypatch.delenv("VMESH_ROUTER_OPENAI_API_KEY", raising=False)
    openai = next(one for one in read_providers(PROVIDERS_FILE) if one.kind == "openai")
    assert missing(openai, ProviderSettings()) == ["VMESH_ROUTER_OPENAI_API_KEY"]
    assert missing(openai, ProviderSettings(openai_api_key=SecretStr("k"))) == []
    assert variable("midjourney_url") == "VMESH_ROUTER_MIDJOURNEY_URL"
