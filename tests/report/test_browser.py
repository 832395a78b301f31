"""The page in a real browser: at the width of a telephone and of a desk, in the light and in the dark, nothing is cut off."""

import os

import pytest
from report_equipment import busy, facts, file

from model_cache.report import page

pytestmark = pytest.mark.engine

# Of the page as it is shown: what is wider than it, texts that leave their tile or picture, pairs of colours too alike.
LOOK = r"""() => {
  const found = {overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, outside: [],
                 clipped: [], pale: [], texts: 0, ground: getComputedStyle(document.body).backgroundColor};
  const shown = node => node.getClientRects().length > 0;
  const channels = color => color.match(/[\d.]+/g).map(Number);
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = color => {
    const [red, green, blue] = channels(color).slice(0, 3).map(part => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
  };
  for (const node of document.querySelectorAll("body *")) {
    if (!shown(node)) continue;
    const box = node.getBoundingClientRect();
    if (box.left < -0.5 || box.right > innerWidth + 0.5) found.outside.push(node.tagName + " " + node.textContent.slice(0, 40));
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!own || node.tagName === "title") continue;
    found.texts += 1;
    const svg = node.closest("svg");
    let ground;
    if (svg) {
      const picture = svg.getBoundingClientRect();
      const tile = node.parentElement.querySelector(":scope > rect");
      const room = tile && svg.classList.contains("map") ? tile.getBoundingClientRect() : picture;
      const across = box.left < room.left - 0.5 || box.right > room.right + 0.5;
      if (across || box.top < room.top - 0.5 || box.bottom > room.bottom + 1.5)
        found.clipped.push(node.textContent);
      ground = tile && svg.classList.contains("map") ? getComputedStyle(tile).fill : behind(svg);
    } else {
      ground = behind(node);
      const flows = getComputedStyle(node).display === "inline";
      if (!flows && node.scrollWidth > node.clientWidth + 1) found.clipped.push(node.textContent);
    }
    const {fill, color, fontSize} = getComputedStyle(node);
    const ink = svg ? fill : color;
    if (contrast(ink, ground) < 4.5) found.pale.push([node.textContent.slice(0, 30), ink, ground]);
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    if (parseFloat(fontSize) * scale < 9) found.pale.push(["too small", node.textContent.slice(0, 30)]);
  }
  return found;
}"""

PAGES = {
    "busy": busy(),
    "empty": facts(),
    "no index": facts(indexed=False),
    "long names": facts(
        [file("o" * 60 + "/" + "w" * 90, "W" * 200, 10**9), file("模型/模型", "模型" * 40 + ".bin", 10**9)]
    ),
    "many": facts([file(f"owner/{n % 300}", f"model-{n}.bin", 1000 + n) for n in range(10_000)], budget=10**6),
}


@pytest.fixture
def show(browser, tmp_path):
    """Show a page at a width and in a scheme; it asks for nothing, and the browser complains of nothing."""
    path, said, asked, opened = tmp_path / "report.html", [], [], []

    def start(known, width, scheme, **more):
        path.write_text(page(known), encoding="utf-8")
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True, **more)
        opened.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto(path.as_uri())
        return shown

    yield start
    for context in opened:
        context.close()
    assert (said, set(asked)) == ([], {path.as_uri()})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_is_cut_off(show, kind, width, scheme):
    """No overflow, no text outside of its place or smaller than 9 pixels, no pair of colours below 4.5:1."""
    shown = show(PAGES[kind], width, scheme)
    found = shown.evaluate(LOOK)
    if pictures := os.environ.get("REPORT_PICTURES"):
        shown.screenshot(path=f"{pictures}/{kind.replace(' ', '-')}-{width}-{scheme}.png", full_page=True)
    assert (found["overflow"], found["outside"], found["clipped"], found["pale"]) == (0, [], [], [])
    assert found["texts"] > (100 if kind == "busy" else 1)
    assert found["ground"] == {"light": "rgb(246, 247, 249)", "dark": "rgb(14, 18, 23)"}[scheme]


def test_it_is_read_without_scripts(show):
    """With scripts switched off the page has the same text."""
    words = [show(PAGES["busy"], 1280, "light", java_script_enabled=on).inner_text("body") for on in (True, False)]
    assert words[0] == words[1]
    assert "What would go next" in words[0]
