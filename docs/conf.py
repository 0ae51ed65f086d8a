"""How Sphinx builds the site: ``nox -s docs``."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

import k2trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).parents[1]

project = "k2trio"
copyright = "the authors of k2trio; MIT licence"  # noqa: A001 - Sphinx calls it so
version = release = k2trio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 4
suppress_warnings = [
    "misc.highlighting_failure",  # JSON with … in it
    "ref.python",  # a Feed is that of Trio or of threads; the nearer one is linked
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": False}
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"k2trio {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

# Sites that refuse programs, or are there for one who has an account.
linkcheck_ignore = [r"http://127\.0\.0\.1", r"https://wiki\.example\.com"]
linkcheck_anchors = False


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: nodes.TextElement
) -> nodes.Node | None:
    """Lead references to where a name is public; what is only named stays text, if it exists.

    A signature tells where a class was defined, ``k2trio.market.payloads.Trade``, and the page has
    it as ``k2trio.Trade``.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    name = target.rpartition(".")[2].partition("[")[0]
    domain = env.domains.python_domain
    for full in (f"k2trio.{name}", f"k2trio.transitions.{name}"):
        if full in domain.objects:
            entry = domain.objects[full]
            uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
            link = nodes.reference("", "", internal=True, refuri=f"{uri}#{entry.node_id}")
            link += contents
            return link
    return contents if name in NAMES or _importable(target) else None


def _importable(target: str) -> bool:
    """Whether a dotted name of somebody else's is there."""
    module, _, name = target.rpartition(".")
    try:
        return hasattr(importlib.import_module(module or "builtins"), name)
    except ImportError:
        return False


def _names() -> Iterator[str]:
    """What the modules of the package define and import, for type checkers alone, too."""
    for path in (ROOT / "k2trio").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names) | ast.ImportFrom(names=names):
                    yield from (name.asname or name.name for name in names)
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                    yield name
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name):
                    yield name
                case _:
                    pass


NAMES = frozenset(_names())


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
