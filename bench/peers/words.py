"""The README's table out of outcomes: each outcome has its words, so that a cell can say nothing that was not seen.

What no trial can show, such as that a tool does uploads, is a link to that tool's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping

from .tools import CACHED, DISKCACHE, HUB, OURS, POOCH, TOOLS

Outcomes = Mapping[str, Mapping[str, str]]
BEGIN, END = "<!-- peers: python -m bench.peers --save -->", "<!-- /peers -->"
_NONE = "–"

# Trial: what stands in the first column, and the words of each outcome.
ROWS: dict[str, tuple[str, dict[str, str]]] = {
    "flipped": (
        "one bit flips on the way",
        {"mended": "noticed, downloaded again", "refused": "refused, given the hash", "handed out": "handed out"},
    ),
    "herd": (
        "8 processes want one cold file",
        {"one": "1 download", "each": "8 downloads", "some": "several downloads"},
    ),
    "killed": (
        "killed at 30 of 40 MiB, started again",
        {"resumes": "fetches the rest", "starts over": "starts over"},
    ),
    "durable": ("durable (`fsync`) before it is handed out", {"yes": "yes", "no": "no"}),
    "rotted": (
        "a bit rots on disk, next call",
        {"handed out": "handed out", "mended": "noticed: hashes it at each call", "refused": "refused"},
    ),
    "checked": (
        "the tool's own check of that",
        {
            "found alone, stopped": "finds it, offline; not handed out again",
            "found asking, handed out": "finds it, asking the Hub; still handed out",
            "found alone, handed out": "finds it; still handed out",
            "found asking, stopped": "finds it, asking the Hub",
            "missed": "misses it",
            "no check": _NONE,
        },
    ),
    "removed": (
        "removed while another process has it open",
        {"kept": "refused", "gone": "gone", "no removal": _NONE},
    ),
    "budget": ("stays within a size", {"kept": "yes", "passed": "no", "no limit": _NONE}),
    "repo": ("a whole repo in one call", {"whole": "yes", "in part": "in part", "no repos": _NONE}),
    "part": (
        "offline, the repo is there in part",
        {"refused": "refused", "handed out": "handed out as the whole", "no repos": _NONE},
    ),
    "warm": ("requests of a warm call", {str(number): str(number) for number in range(6)}),
    "unreachable": ("the Hub is down, the file is there", {"found": "found", "error": "fails"}),
    "moved": (
        "the Hub has a newer file, next call",
        {"new": "the new one", "old": "the old one, until `update`", "error": "refused"},
    ),
    "place": (
        "what you get",
        {
            "layout": "`{root}/{repo}/{filename}`, a plain file",
            "link": "a link to a blob",
            "named": "a plain file, named as you say",
            "hashed": "a plain file, named by a hash",
            "bytes": "the bytes, in memory",
        },
    ),
    "uploads": ("uploads", {"yes": "yes", "no": "no"}),
    "sources": ("other sources than the Hub", {"yes": "any URL", "no": "no"}),
}
_HUB, _POOCH = "https://huggingface.co/docs/huggingface_hub", "https://www.fatiando.org/pooch/latest"
_CACHED, _DISK = "https://github.com/allenai/cached_path", "https://grantjenks.com/docs/diskcache"
# Where one word means another thing for one tool.
_OTHER = {
    ("moved", POOCH.name): {"old": "the old one: the hash is yours"},
    ("moved", DISKCACHE.name): {"old": "the old one, until it expires"},
    ("uploads", HUB.name): {"yes": f"[yes]({_HUB}/guides/upload)"},
    ("sources", OURS.name): {"no": "[a mirror](docs/how-to/point-at-a-mirror.md)"},
    ("sources", POOCH.name): {"yes": f"[any URL, FTP, DOI]({_POOCH}/protocols.html)"},
    ("sources", DISKCACHE.name): {"yes": f"[any Python value]({_DISK}/tutorial.html)"},
    ("sources", CACHED.name): {"yes": f"[URLs, S3, GCS]({_CACHED}#supported-resources)"},
}
# What the documentation says.
_SAID = {
    ("repo", CACHED.name): f"[`hf://` address]({_CACHED}#supported-resources)",
    ("part", CACHED.name): "not tried",
}
_DOCUMENTED = (
    (
        "Xet transfers",
        (
            "[no](docs/adr/0005-hub-protocol-without-xet.md)",
            f"[yes]({_HUB}/guides/download)",
            _NONE,
            _NONE,
            "not tried",
        ),
    ),
)


def cell(row: str, tool: str, outcome: str) -> str:
    """What the table says of one outcome."""
    if said := _SAID.get((row, tool)):
        return said
    return _OTHER.get((row, tool), {}).get(outcome) or ROWS[row][1][outcome]


def table(outcomes: Outcomes) -> str:
    """The table as Markdown, marks included."""
    names = [tool.name for tool in TOOLS]
    assert names[0] == OURS.name and HUB.name in names
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row, (title, _) in ROWS.items():
        lines.append(f"| {title} | {' | '.join(cell(row, name, outcomes[row][name]) for name in names)} |")
    lines += [f"| {title} | {' | '.join(cells)} |" for title, cells in _DOCUMENTED]
    return "\n".join([BEGIN, *lines, END])
