"""Which pages the site has, and in which order: those of docs/index.md, in the order in which it links to them.

Hooks of MkDocs. A page that the index does not link to is in no section, which a strict build refuses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
SECTIONS = {"how-to": "How-to", "reference": "Reference", "explanation": "Explanation", "adr": "Decisions"}
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def linked() -> list[str]:
    """The pages that the index links to, each once."""
    found = (target.partition("#")[0] for _, target in LINK.findall((DOCS / "index.md").read_text(encoding="utf-8")))
    return list(dict.fromkeys(found))


def on_config(config: Any) -> Any:
    """Make the navigation."""
    pages = linked()
    nav: list[Any] = [{"Start": "index.md"}, {"Tutorial": "tutorial.md"}]
    for directory, title in SECTIONS.items():
        nav.append({title: [page for page in pages if page.startswith(f"{directory}/")]})
    config.nav = nav
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """What lies beside docs/ in the repository is no page: its link becomes its name."""
    here = DOCS / Path(page.file.src_uri).parent

    def named(found: re.Match[str]) -> str:
        text, target = found.groups()
        outside = "://" not in target and not (here / target.partition("#")[0]).resolve().is_relative_to(DOCS)
        return text if outside else found[0]

    return LINK.sub(named, markdown)
