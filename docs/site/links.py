"""What was built is looked at as a reader's browser would: every link leads somewhere, nothing comes from elsewhere.

A hook of MkDocs, after the last page. It also compares each page with what a CommonMark parser makes of its source: rows,
list items, blocks of code. The two dialects of Markdown differ in silence, and a table that is shown as text is no error
to either.
"""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from mkdocs.exceptions import PluginError

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
COUNTED = {"tr", "li", "pre", "h2", "h3"}


class Page(HTMLParser):
    """Addresses, anchors and the shape of a page.

    Attributes:
        ids: What a link can lead to.
        links: Where its links lead.
        loaded: What a browser fetches to show it.
        shape: How many rows, items and blocks its article has.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.shape: Counter[str] = Counter()
        self._article = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        given = {name: value or "" for name, value in attrs}
        self._article |= tag == "article"
        if self._article and tag in COUNTED:
            self.shape[tag] += 1
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loaded += [
            given[name]
            for kind, name in LOADED
            if kind == tag and name in given and given.get("rel") not in ("canonical", "prev", "next")
        ]

    def handle_endtag(self, tag: str) -> None:
        """The article ends once."""
        if tag == "article":
            self._article = False


def shape_of(source: str) -> Counter[str]:
    """What a page should have, by CommonMark and the tables of GitHub."""
    names = {"tr_open": "tr", "list_item_open": "li", "fence": "pre", "code_block": "pre"}
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    found = (names.get(token.type) or (token.tag if token.type == "heading_open" else "") for token in tokens)
    return Counter(name for name in found if name in COUNTED)


def wrong_links(path: Path, pages: dict[Path, Page], site: Path) -> list[str]:
    """What of a page leads nowhere, or is loaded from elsewhere."""
    found = []
    for address in [*pages[path].links, *pages[path].loaded]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            found += [f"{address} is loaded from elsewhere"] * (address in pages[path].loaded)
            continue
        there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if there.is_dir():
            there /= "index.html"
        if not there.is_relative_to(site) or not there.is_file():
            found.append(f"{address} leads nowhere")
        elif there in pages and parts.fragment and unquote(parts.fragment) not in pages[there].ids:
            found.append(f"{address} has no such anchor")
    return found


def wrong_shape(path: Path, pages: dict[Path, Page], site: Path, docs: Path) -> list[str]:
    """Where a page differs from its source; pages that are made of docstrings have none."""
    source = docs / path.relative_to(site).with_suffix(".md")
    if not source.is_file():
        return []
    text = source.read_text(encoding="utf-8")
    wanted, made = shape_of(text), pages[path].shape
    if "\n::: " in text:
        return []
    return [
        f"{made[kind]} <{kind}> where the source has {wanted[kind]}" for kind in COUNTED if made[kind] != wanted[kind]
    ]


def on_post_build(config: Any, **_: Any) -> None:
    """Refuse a site that is not whole."""
    site, docs = Path(config.site_dir).resolve(), Path(config.docs_dir).resolve()
    # The page for what is not there stands at no address of its own, so its links are absolute.
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    wrong = [
        f"{path.relative_to(site)}: {problem}"
        for path in sorted(pages)
        for problem in [*wrong_links(path, pages, site), *wrong_shape(path, pages, site, docs)]
    ]
    if wrong:
        raise PluginError("\n".join(wrong))
