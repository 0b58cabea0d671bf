"""Policies per tenant: what a file may say, what it may not, with the line, and that a wrong one changes nothing."""

import os
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from services.safety.category import Action, Category
from services.safety.policyfile import SHIPPED, PolicyFile, load_book
from services.safety.rulebook import read
from tests.unit.safety.shipped import RULES

TENANTS = """
terms:
  - {term: "Project Nightjar", category: copyright, severity: 5}
exceptions: []
tenants:
  museum:
    version: "3"
    thresholds:
      sexual: {flag: 3, block: 6}
    terms:
      - {term: "Lüge", category: hate, severity: 4}
      - {term: "謎の計画", category: copyright, severity: 6}
    exceptions:
      - {phrase: "the naked maja", category: sexual}
      - {phrase: "the rape of europa", category: sexual}
"""
DEFAULT = SHIPPED.read_text("utf-8").partition("# Words that are forbidden")[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    write(path, DEFAULT + TENANTS)
    return path


def write(path: Path, text: str) -> None:
    """Write a version that is newer than any before, however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, "utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))


def evidence(path: Path, tenant: str, prompt: str) -> list[str]:
    held = load_book(path, RULES.disguises).of(tenant)
    return [s.evidence for s in RULES.check(prompt, extra=held.terms, allowed=held.allowed)]


def test_a_tenant_has_the_default_and_what_it_says_itself(path: Path) -> None:
    book = load_book(path, RULES.disguises)
    version = read("policy.yaml")["version"]
    assert book.of("anyone").policy.version == version
    assert book.of("museum").policy.version == f"{version}+museum/3"
    assert book.of("anyone").policy.action(Category.SEXUAL, 5) is Action.BLOCK
    assert book.of("museum").policy.action(Category.SEXUAL, 5) is Action.FLAG
    assert book.of("museum").policy.thresholds[Category.HATE] == book.default.policy.thresholds[Category.HATE]


@pytest.mark.parametrize(
    ("tenant", "prompt", "found"),
    [
        ("anyone", "a logo for project nightjar", ["rule terms.1"]),
        ("museum", "PROJECT-NIGHTJAR", ["rule terms.1"]),
        ("museum", "pr0ject n1ghtjar", ["rule terms.1, disguised spelling"]),
        ("museum", "die luge", ["rule terms.museum.1"]),
        ("anyone", "die luge", []),
        ("museum", "謎の計画のロゴ", ["rule terms.museum.2"]),
        ("anyone", "the naked maja", ["rule sexual.nudity"]),
        ("museum", "The Naked Maja by Goya", []),
        ("museum", "the naked maja and a naked man", ["rule sexual.nudity"]),
        ("museum", "th3 n4ked m4ja", ["rule sexual.nudity, disguised spelling"]),
        ("museum", "the rape of europa", ["rule sexual.without-consent"]),  # severity 7 is not lifted
    ],
)
def test_terms_and_exceptions(path: Path, tenant: str, prompt: str, found: list[str]) -> None:
    assert evidence(path, tenant, prompt) == found


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("block: 6}", "block: 9}", "tenants.museum.thresholds.sexual.block: must be a whole number"),
        ('version: "3"', 'colour: "3"', "tenants.museum.colour: unknown"),
        ('    version: "3"\n', "", "tenants.museum: no version"),
        (
            "category: hate, severity: 4",
            "category: hat, severity: 4",
            "tenants.museum.terms.0.category: must",
        ),
        ('"Project Nightjar"', '"--"', "terms.0.term: must hold a letter or a digit"),
        ('"Project Nightjar"', "7", "terms.0.term: must be text"),
        ("category: copyright, severity: 5}", "category: copyright}", "terms.0: no severity"),
        (
            "sexual: {flag: 3, block: 6}",
            "minors: {block: 6}",
            "tenants.museum.thresholds.minors: must not block",
        ),
        (
            'maja", category: sexual',
            'maja", category: minors',
            "tenants.museum.exceptions.0.category: no tenant lifts",
        ),
        ("flag: 3, block: 6", "block: 7", "tenants.museum.thresholds.sexual: no probability reaches"),
        (
            "flag: 3, block: 6",
            "redact: 3, block: 6",
            "tenants.museum.thresholds.sexual.redact: only personal_data",
        ),
        (
            "category: copyright, severity: 5",
            "category: personal_data, severity: 5",
            "terms.0.category: must be",
        ),
        ("exceptions: []\n", "exceptions: {}\n", "exceptions: must be a list"),
        ("exceptions: []\n", "exceptions: [\n", "not YAML"),
        ("exceptions: []\n", "terms: []\n", "terms: is given twice"),
        ("tenants:\n", "tenants:\n  museum: {version: 2}\n", "tenants.museum: is given twice"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(path: Path, old: str, new: str, told: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    write(path, text.replace(old, new))
    with pytest.raises(ValueError, match=r", line \d+: ") as caught:
        load_book(path, RULES.disguises)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_the_line_is_that_of_the_entry(path: Path) -> None:
    text = path.read_text("utf-8").replace("category: hate, severity: 4", "category: hate, severity: 40")
    write(path, text)
    line = 1 + next(index for index, entry in enumerate(text.splitlines()) if "severity: 40" in entry)
    with pytest.raises(ValueError, match=rf", line {line}: tenants.museum.terms.0.severity: must be a whole"):
        load_book(path, RULES.disguises)


def test_a_changed_file_holds_from_the_next_look_on(path: Path) -> None:
    policies = PolicyFile(path, RULES.disguises)
    write(path, path.read_text("utf-8").replace('version: "3"', 'version: "4"'))
    assert policies.of("museum").policy.version.endswith("museum/3")
    policies.refresh()
    assert policies.of("museum").policy.version.endswith("museum/4")


def test_a_wrong_file_is_told_once_and_changes_nothing_until_it_is_mended(path: Path) -> None:
    policies, right = PolicyFile(path, RULES.disguises), path.read_text("utf-8")
    write(path, right.replace("block: 6}", "block: 9}").replace('version: "3"', 'version: "4"'))
    with capture_logs() as logs:
        policies.refresh()
        policies.refresh()
    (told,) = logs
    assert told["log_level"] == "error"
    assert "line" in told["cause"]
    assert policies.of("museum").policy.version.endswith("museum/3")
    write(path, right.replace('version: "3"', 'version: "5"'))
    policies.refresh()
    assert policies.of("museum").policy.version.endswith("museum/5")


def test_a_file_that_is_gone_changes_nothing_and_is_read_when_it_is_back(path: Path) -> None:
    policies, text = PolicyFile(path, RULES.disguises), path.read_text("utf-8")
    path.unlink()
    with capture_logs() as logs:
        policies.refresh()
        policies.refresh()
    assert len(logs) == 1
    assert policies.of("museum").policy.version.endswith("museum/3")
    write(path, text.replace('version: "3"', 'version: "6"'))
    policies.refresh()
    assert policies.of("museum").policy.version.endswith("museum/6")


def test_the_shipped_file_is_whole_and_has_no_tenants() -> None:
    assert yaml.safe_load(SHIPPED.read_text("utf-8"))["tenants"] == {}
    assert load_book(None, RULES.disguises).tenants == {}
