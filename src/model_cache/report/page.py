"""The page: what stands on it, in which order; pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

from ..units import format_size, plural
from .chart import chart
from .facts import Facts
from .grouping import repos
from .history import history
from .map import legend, treemap
from .markup import element, name, text
from .words import ago, stamp

_DAY = 86400.0
_REPOS, _NEXT, _WRONG = 20, 30, 50  # rows of the tables
_CHECKED = ((_DAY, "within a day"), (7 * _DAY, "within a week"), (30 * _DAY, "within 30 days"))
_BAD = ("corrupt", "unreadable", "changed", "missing")


def page(facts: Facts) -> str:
    """One HTML document, complete in itself."""
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>Model cache: {text(facts.root)}</title><style>{style}</style>"
    )
    shown = (_filling, _time, _verification, _next) if facts.indexed else ()
    sections = [section(facts) for section in shown]
    body = element("header", _header(facts)) + element("main", "\n".join(sections)) + element("footer", _footer(facts))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _header(facts: Facts) -> str:
    title = element("h1", "Model cache") + element("p", name(facts.root, "path"), class_="root")
    if not facts.indexed:
        return title + element(
            "p", "There is no index yet: nothing is recorded of what is in this directory.", class_="note"
        )
    ready = [file for file in facts.files if file.state == "ready"]
    wrong = sum(file.verdict in _BAD for file in ready) + facts.verified.quarantined
    regrets = [event.size for event in facts.events if event.kind == "regret" and event.at > facts.now - 7 * _DAY]
    cards = [
        _card("Used", format_size(facts.total), _of_budget(facts), meter=_share(facts.total, facts.budget)),
        _card("Files", f"{len(ready):,}", f"in {plural(len({file.repo for file in ready}), 'repo')}"),
        _card("Disk", *_disk(facts)),
        _card("Verified", _when(facts.verified.last, facts.now), _found(wrong), bad=bool(wrong)),
        _card("Regret", format_size(sum(regrets)), f"{plural(len(regrets), 'file')} came again, this week"),
    ]
    return title + element("div", "".join(cards), class_="cards")


def _card(label: str, value: str, below: str, *, meter: float | None = None, bad: bool = False) -> str:
    drawn = element("h2", text(label)) + element("p", text(value), class_="value")
    if meter is not None:
        drawn += _bar([("full" if meter > 1 else "came", min(meter, 1.0))], f"{100 * meter:.0f} % of the budget")
    return element("div", drawn + element("p", text(below)), class_="card bad-card" if bad else "card")


def _bar(parts: list[tuple[str, float]], title: str) -> str:
    """A bar of shares that add up to 1 at most."""
    drawn, at = element("title", text(title)) + element("rect", width="100%", height="100%", class_="track"), 0.0
    for kind, share in parts:
        if share > 0:
            drawn += element("rect", x=f"{100 * at:.2f}%", width=f"{100 * share:.2f}%", height="100%", class_=kind)
        at += share
    return element("svg", drawn, class_="bar", role="img")


def _share(size: int, budget: int | None) -> float | None:
    return None if not budget else size / budget


def _of_budget(facts: Facts) -> str:
    if facts.budget is None:
        return "no budget is set"
    left = facts.budget - facts.total
    return f"of {format_size(facts.budget)}; {format_size(abs(left))} {'left' if left >= 0 else 'over'}"


def _disk(facts: Facts) -> tuple[str, str]:
    if facts.free is None or facts.disk is None:
        return "unknown", "the file system does not tell"
    return format_size(facts.free), f"free of {format_size(facts.disk)}"


def _when(moment: float | None, now: float) -> str:
    return "never" if moment is None else ago(moment, now)


def _found(wrong: int) -> str:
    return "no damage is known" if not wrong else f"{plural(wrong, 'file')} not as recorded"


def _filling(facts: Facts) -> str:
    drawn = treemap(facts)
    if not drawn:
        return _section("What fills it", element("p", "Nothing that is recorded.", class_="note"))
    found = repos([file for file in facts.files if file.state == "ready"])
    most = max((repo.size for repo in found), default=0) or 1
    rows = [
        (name(repo.name), f"{repo.files:,}", format_size(repo.size), ago(repo.used, facts.now))
        for repo in found[:_REPOS]
    ]
    bars = [_bar([("came", repo.size / most)], format_size(repo.size)) for repo in found[:_REPOS]]
    cells = [(first + bar, *rest) for (first, *rest), bar in zip(rows, bars, strict=True)]
    more = len(found) - len(rows)
    table = _table(("Repo", "Files", "Size", "Used"), cells, right=(1, 2))
    rest = element("p", f"And {plural(more, 'smaller repo')}.", class_="note") if more > 0 else ""
    return _section("What fills it", drawn + legend(facts) + table + rest)


def _time(facts: Facts) -> str:
    drawn = chart(facts)
    if not drawn:
        return _section("Over time", element("p", "Nothing has happened yet.", class_="note"))
    (all_of_it,) = history(facts.events, facts.total, facts.now, 1)
    said = f"Since {stamp(all_of_it.at)}: {format_size(all_of_it.came)} came and {format_size(all_of_it.went)}"
    said += f" ({plural(all_of_it.goings, 'file')}) went. "
    if all_of_it.regrets:
        said += f"{format_size(all_of_it.regretted)} ({plural(all_of_it.regrets, 'file')}) came again within a day of"
        said += " their eviction: the budget is tight. "
    said += "How full it was is reckoned back from now by the sizes of what came and went."
    kinds = [("came", "came"), ("went", "evicted, expired or removed"), ("again", "came again: regret")]
    swatches = (
        element("li", element("svg", element("rect", width=12, height=12, class_=kind), class_="swatch") + label)
        for kind, label in kinds
    )
    return _section("Over time", drawn + element("ul", "".join(swatches), class_="legend") + element("p", text(said)))


def _verification(facts: Facts) -> str:
    ready = [file for file in facts.files if file.state == "ready"]
    if not ready:
        return _section("Last verification", element("p", "No file to verify.", class_="note"))
    counts = [0] * (len(_CHECKED) + 2)
    for file in ready:
        age = None if file.verified is None else facts.now - file.verified
        within = (number for number, (most, _) in enumerate(_CHECKED) if age is not None and age < most)
        counts[next(within, len(_CHECKED) + (age is None))] += file.size or 0
    names = [*(label for _, label in _CHECKED), "longer ago", "never"]
    kinds = ["age0", "age1", "age2", "age3", "age4"]
    whole = sum(counts) or 1
    bar = _bar(
        [(kind, count / whole) for kind, count in zip(kinds, counts, strict=True)], "bytes by when they were compared"
    )
    items = (
        element("li", element("svg", element("rect", width=12, height=12, class_=kind), class_="swatch") + text(label))
        for kind, label in zip(
            kinds, (f"{n}: {format_size(c)}" for n, c in zip(names, counts, strict=True)), strict=True
        )
    )
    last, success = facts.verified.last, facts.verified.last_success
    said = f"Last verify of the whole cache: {_moment(last, facts.now)}. Last one without damage: {_moment(success, facts.now)}."
    return _section(
        "Last verification",
        element("p", text(said)) + bar + element("ul", "".join(items), class_="legend") + _damage(facts),
    )


def _moment(moment: float | None, now: float) -> str:
    return "never" if moment is None else f"{stamp(moment)}, {ago(moment, now)}"


def _damage(facts: Facts) -> str:
    wrong = [file for file in facts.files if file.verdict in _BAD and file.state == "ready"]
    aside = facts.verified.quarantined
    said = element("p", f"Quarantine has {plural(aside, 'file')} that nothing took the place of.") if aside else ""
    if not wrong:
        return said
    rows = [
        (f"{name(file.repo)} {name(file.name)}", text(file.verdict), _when(file.verified, facts.now))
        for file in wrong[:_WRONG]
    ]
    if len(wrong) > len(rows):
        said += element("p", f"{len(rows)} of {len(wrong):,} files that are not as recorded:")
    return said + _table(("File", "Found", "When"), rows)


def _next(facts: Facts) -> str:
    if not facts.order:
        return _section("What would go next", element("p", "No file that may go.", class_="note"))
    said = "The longest unused first. "
    if facts.budget is None:
        said = "No budget is set, so nothing goes to save room. If one were, this would be the order. "
    elif facts.total <= facts.budget:
        said += f"Nothing need go yet: {format_size(facts.budget - facts.total)} are left. "
    else:
        said += f"It is {format_size(facts.total - facts.budget)} over its budget. "
    rows, sum_ = [], 0
    for file in facts.order[:_NEXT]:
        sum_ += 0 if file.keeps else file.charged
        then = text(f"stays: {file.keeps}") if file.keeps else f"goes: {format_size(sum_)} in all"
        size = format_size(file.charged)
        rows.append((f"{name(file.repo)} {name(file.name)}", size, ago(file.used, facts.now), then))
    more = len(facts.order) - len(rows)
    rest = element("p", f"And {plural(more, 'file')} after them.", class_="note") if more > 0 else ""
    table = _table(("File", "Size", "Used", "Then"), rows, right=(1,))
    return _section("What would go next", element("p", text(said)) + table + rest)


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> str:
    """Cells are HTML."""
    sides = ["end" if number in right else "start" for number in range(len(headers))]
    head = "".join(
        element("th", text(title), class_=side, scope="col") for title, side in zip(headers, sides, strict=True)
    )
    body = "\n".join(
        element("tr", "".join(element("td", cell, class_=side) for cell, side in zip(row, sides, strict=True)))
        for row in rows
    )
    return element("table", element("thead", element("tr", head)) + element("tbody", body))


def _section(title: str, content: str) -> str:
    return element("section", element("h2", title) + content)


def _footer(facts: Facts) -> str:
    said = f"model-cache {facts.version}, {stamp(facts.now)}. What the index knows; no file was read for it."
    if facts.left_out:
        said += f" {plural(facts.left_out, 'row')} of the index that made no sense left out."
    return element("p", text(said))
