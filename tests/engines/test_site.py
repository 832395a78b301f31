"""The site in a real browser, as `make site` has built it: at the width of a telephone and of a desk, light and dark."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
SITE = Path(__file__).resolve().parents[2] / "build" / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))

# How much wider a page is than its window, and what sticks out of it without being in something that scrolls.
LOOK = """() => {
  const scrolls = node => {
    for (let at = node; at; at = at.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };
  const outside = [...document.querySelectorAll("article *")].filter(
    node => node.getClientRects().length && node.getBoundingClientRect().right > innerWidth + 0.5 && !scrolls(node));
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    outside: outside.map(node => node.tagName + " " + node.textContent.slice(0, 40)),
    letters: document.querySelector("article").innerText.length,
    ground: getComputedStyle(document.body).backgroundColor,
  };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture(scope="module")
def address():
    """Where the site is served."""
    if not PAGES:
        pytest.skip("needs build/site, which `make site` builds")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def show(browser, address):
    """Open pages at a width and in a scheme; the browser complains of nothing, and asks nobody else."""
    said, elsewhere, opened = [], [], []

    def start(width, scheme):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda request: request.url.startswith(address) or elsewhere.append(request.url))
        shown.on("response", lambda answer: answer.status < 400 or said.append(f"{answer.status} {answer.url}"))
        return shown

    yield start
    for context in opened:
        context.close()
    assert (said, elsewhere) == ([], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_no_page_is_wider_than_its_window(show, address, width, scheme):
    """Each page has a text, fits the window, is loaded from here alone, and gives the browser nothing to complain of."""
    shown, grounds = show(width, scheme), set()
    for page in PAGES:
        shown.goto(address + page)
        found = shown.evaluate(LOOK)
        assert (page, found["overflow"], found["outside"]) == (page, 0, [])
        assert found["letters"] > 10
        grounds.add(found["ground"])
        if pictures := os.environ.get("SITE_PICTURES"):
            shown.screenshot(path=f"{pictures}/{page.replace('/', '-')}-{width}-{scheme}.png")
    assert len(grounds) == 1
    assert (grounds == {"rgb(255, 255, 255)"}) == (scheme == "light")


def test_the_search_finds_a_word(show, address):
    """A word that is typed into the search leads to a page that has it."""
    shown = show(1280, "light")
    shown.goto(address + "index.html")
    shown.fill("input.md-search__input", "single-flight")
    shown.wait_for_selector(".md-search-result__item a")
    assert shown.get_attribute(".md-search-result__item a", "href").startswith(address)


def test_the_button_copies_the_commands_alone(show, address):
    """What the button beside a session in a terminal copies can be pasted into one: no prompts, and no output."""
    shown = show(1280, "light")
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    shown.goto(address + "tutorial.html")
    shown.click(".highlight:has(.go) >> nth=1 >> button")
    shown.wait_for_selector(".md-dialog--active")
    copied = shown.evaluate("navigator.clipboard.readText()").split("\n")
    assert {line for line in copied if line} == {"model-cache fetch openai-community/gpt2 model.safetensors"}
