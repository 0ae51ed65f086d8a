"""The documents, taken apart: their blocks of code, their links, and their anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
"""What the site is made of."""
OTHERS = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "bench" / "README.md",
    ROOT / "deploy" / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "k2trio" / "commands" / "ops" / "runbook.md",
]

_FENCE = re.compile(r"^(`{3,})(\S*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (.+?)(?:: (.+?))? -->")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :ivar marks: what comments right before it say of it: ``<!-- not run: needs Kafka -->``.
    """

    document: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path, *languages: str) -> list[Block]:
    """The blocks of a document, in their order; of these languages alone, if any is given."""
    text = document.read_text(encoding="utf-8")
    found: list[Block] = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()].splitlines()
        marks: dict[str, str] = {}
        while before and (not before[-1] or _MARK.fullmatch(before[-1])):
            if mark := _MARK.fullmatch(before.pop()):
                marks[mark[1]] = mark[2] or ""
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(document, line, fence[2], fence[3], marks))
    return [block for block in found if not languages or block.language in languages]


def prose(document: Path) -> str:
    """A document without its blocks, but for what other documents it takes in."""
    text = document.read_text(encoding="utf-8")

    def told(fence: re.Match[str]) -> str:
        kind, _, target = (fence[2] + fence[3].partition("\n")[0]).partition("}")
        return f"![]({target.strip()})\n" if kind in {"{image", "{include"} else ""

    return _FENCE.sub(told, text.replace("```{include} ", "```{include}\n"))


def anchors(document: Path) -> set[str]:
    """What its headings are called in links, by the rule of GitHub."""
    text = document.read_text(encoding="utf-8")
    if taken := re.match(r"```\{include\} (\S+)\n", text):
        return anchors((document.parent / taken[1]).resolve())
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names = (slug if not number else f"{slug}-{number}" for number in range(99))
        found.add(next(name for name in names if name not in found))
    return found
