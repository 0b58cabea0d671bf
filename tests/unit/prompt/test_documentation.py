"""docs/04-prompt.md tells the style set as it is."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_the_documented_styles_are_the_styles():
    page = (ROOT / "docs" / "04-prompt.md").read_text().partition("## Styles")[2].partition("\n## ")[0]
    told = [line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")]
    styles = yaml.safe_load((ROOT / "services" / "prompt" / "styles.yaml").read_text())["styles"]
    assert told == [style["name"] for style in styles]
    for style in styles:
        assert f"| {', '.join(style['negative'])} |" in page, style["name"]
