"""The page: complete in itself, bounded, and of names nothing but text."""

import base64
import hashlib
import re

import pytest
from report_equipment import NOW, Parsed, busy, facts, file

from model_cache.report import Verified, page

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></svg><iframe>",
    "&lt;b&gt; &amp;",
    "photo\u202egnp.exe",
    "\u2066isolated\u2069",
    "line\nbreak\x1b[31m\x00",
    "\udcff\udc80",
    "javascript:alert(1)",
]


def test_it_needs_nothing_from_elsewhere():
    """No script, no link, no address of any file; the policy allows the one style by its hash, and nothing else."""
    html = page(busy())
    parsed = Parsed(html)
    assert {"script", "link", "img", "iframe", "a", "object", "image", "use"}.isdisjoint(parsed.elements)
    assert not [name for _, name, _ in parsed.attributes if name in ("src", "href", "style") or name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [value for _, name, value in parsed.attributes if name == "content" and "default-src" in value]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_nothing_but_text(name):
    """A name that is HTML, or turns the direction of writing, adds no element and no attribute, and is seen."""

    def made(text):
        known = file(f"owner/{text}", text, 1000, verdict="corrupt", verified=NOW)
        return Parsed(page(facts([known, file("other/one", "plain", 1000)])))

    hostile, plain = made(name), made("n" * 30)
    assert set(hostile.elements) == set(plain.elements)
    assert {(tag, key) for tag, key, _ in hostile.attributes} == {(tag, key) for tag, key, _ in plain.attributes}
    shown = "".join(hostile.texts)
    assert not set(shown) & set("\u202e\u2066\u2069\x1b\x00\udcff")
    assert name.encode("unicode_escape", "surrogatepass").decode().replace("\\\\", "\\") in shown or name in shown


def test_a_hostile_root_is_text():
    """The root's own path passes the same way as names do."""
    known = facts([file()]).__class__("/tmp/<b>\u202e", NOW, "0.1.0")
    assert "<b>" not in page(known)


def test_ten_thousand_files_make_a_bounded_page():
    """Small files and repos are shown as one: the page of 10,000 is hardly larger than that of 1,000."""

    def size(count):
        files = [file(f"owner/{number % 300}", f"model-{number}.bin", 1000 + number) for number in range(count)]
        return len(page(facts(files)))

    assert size(10_000) < 400_000
    assert size(10_000) < 1.5 * size(1_000)


def test_the_areas_of_the_map_are_the_sizes():
    """Two repos of which one is three times as large have frames of which one is."""
    html = page(facts([file("a/large", "x", 3_000_000), file("b/small", "x", 1_000_000)]))
    wide = re.search(r'<svg class="map wide".*?</svg>', html, re.DOTALL)[0]
    frames = re.findall(r'width="([\d.]+)" height="([\d.]+)" class="frame"', wide)
    large, small = (float(width) * float(height) for width, height in frames)
    assert large / small == pytest.approx(3, rel=0.02)


def test_names_of_one_file_fill_it_once():
    """A further name of a file is counted as a file, and has no area."""
    html = page(facts([file("a/one", "first", 1000), file("a/one", "second", 1000, charged=0)]))
    wide = re.search(r'<svg class="map wide".*?</svg>', html, re.DOTALL)[0]
    assert "second" not in wide
    assert wide.count('class="tile') == 1


def test_who_goes_and_who_stays():
    """Those that would go come with the sum of their bytes, those that stay with the reason, which add nothing."""
    files = [
        file("a/a", "1", 1_000_000, used=NOW - 30, keeps="used less than 10m ago"),
        file("a/a", "2", 1_000_000, used=NOW - 3000),
        file("a/a", "3", 2_000_000, used=NOW - 2000, keeps="pinned"),
        file("a/a", "4", 4_000_000, used=NOW - 1000),
    ]
    rows = re.findall(r"<tr>.*?</tr>", page(facts(files, budget=10**9)).split("What would go next")[1])
    last = [re.findall(r"<td[^>]*>(.*?)</td>", row)[-1] for row in rows[1:]]
    assert last == ["goes: 1 MB in all", "stays: pinned", "goes: 5 MB in all", "stays: used less than 10m ago"]


@pytest.mark.parametrize(
    ("budget", "said"),
    [(None, "no budget is set"), (2_000_000, "1 MB left"), (600_000, "400 kB over"), (0, "1 MB over")],
)
def test_the_budget_is_said(budget, said):
    """With and without one, above and below it."""
    assert said in page(facts([file(size=1_000_000)], budget=budget))


def test_an_empty_cache_and_none_at_all():
    """With nothing in it each section says so; without an index only that is said."""
    empty = page(facts())
    for words in ("Nothing that is recorded", "Nothing has happened yet", "No file to verify", "No file that may go"):
        assert words in empty
    bare = Parsed(page(facts(indexed=False)))
    assert "section" not in bare.elements
    assert "There is no index" in "".join(bare.texts)


def test_damage_is_told_in_all_places():
    """A damaged file counts in the card, has a colour of its own, and a row; one in quarantine is counted beside it."""
    html = page(facts([file(verdict="corrupt", verified=NOW)], verified=Verified(NOW, None, 1)))
    assert "2 files not as recorded" in html
    assert 'class="tile bad"' in html
    assert ">corrupt</td>" in html
    assert "Quarantine has 1 file" in html


def test_times_of_no_calendar_are_no_error():
    """An index can have been written by anybody: a time that no calendar has is shown as such."""
    page(facts([file(used=1e15, verified=-1e15)], verified=Verified(1e300, -1e300)))
    assert "never" in page(facts([file()], verified=Verified(float("inf"), float("-inf"))))
