"""Every link between the documents leads somewhere, to its heading, too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pages import DOCS, OTHERS, PAGES, README, ROOT, anchors, prose

if TYPE_CHECKING:
    from pathlib import Path

TREE = re.compile(r"^```\{toctree\}\n(.+?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)|(?:src|srcset|href)=\"([^\"]+)\"")


def links(document: Path) -> list[str]:
    found = ["".join(parts) for parts in LINK.findall(prose(document))]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def dead(document: Path, link: str) -> str | None:
    """Why a link leads nowhere."""
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.exists():
        return f"there is no {path}"
    if anchor and anchor not in anchors(target):
        return f"{target.name} has no heading {anchor!r}; it has {sorted(anchors(target))}"
    return None


@pytest.mark.parametrize("document", [README, *PAGES, *OTHERS], ids=lambda path: str(path))
def test_links_lead_somewhere(document: Path) -> None:
    found = links(document)
    assert {link: why for link in found if (why := dead(document, link))} == {}


def test_a_dead_link_is_found() -> None:
    assert dead(README, "docs/nowhere.md") == "there is no docs/nowhere.md"
    assert "no heading 'nothing'" in str(dead(README, "docs/limits.md#nothing"))
    assert dead(README, "docs/benchmarks.md#method") is None
    assert links(README)
    assert "../bench/README.md" in links(DOCS / "benchmarks.md")


def test_every_page_can_be_reached_from_the_first_one() -> None:
    reached: set[Path] = set()
    ways = [DOCS / "index.md"]
    while ways:
        page = ways.pop()
        reached.add(page)
        for tree in TREE.findall(page.read_text()):
            for name in (line for line in tree.splitlines() if line and line[0] != ":"):
                ways += [path for path in page.parent.glob(f"{name}.md") if path not in reached]
    assert reached == set(PAGES)
    assert ROOT / "docs" / "howto" / "asyncio.md" in reached
