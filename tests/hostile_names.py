"""Names as somebody hostile writes them into a web form, a lock file, a repo or an index; the same each time."""

from itertools import product

WINDOWS = [
    "con",
    "PRN",
    "aux",
    "NUL",
    "com1",
    "LPT9",
    "CONIN$",
    "nul.txt",
    "com1.tar.gz",
    "aux .x",
    "C:",
    "c:\\x",
    "\\\\host\\x",
]
DOTS = [
    ".",
    "..",
    "...",
    "....",
    ".. ",
    " ..",
    "..;",
    "..%00",
    ".\u200b.",
    "\uff0e\uff0e",
    "\u2024\u2024",
    "\u2025",
    ". .",
    "x.",
    "x..",
    ".x",
]
SLASHES = [
    "/",
    "\\",
    "\u2215",
    "\u2044",
    "\uff0f",
    "\u29f8",
    "%2f",
    "%2F",
    "%5c",
    "%252f",
    "%c0%af",
    "%e0%80%af",
    "&#47;",
    "//",
]
STEERING = [
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C, 0x2028, 0x2029)
]
INVISIBLE = [
    "\u200b",
    "\u200c",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u180e",
    "\u3164",
    "\U000e0041",
    "\u00a0",
    "\u034f",
]
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
SURROGATES = ["\ud800", "\udfff", "\udc80", "\udcff", "\ud83d"]
FOLDS = [
    "model.BIN",
    "MODEL.bin",
    "caf\u00e9",
    "cafe\u0301",
    "stra\u00dfe",
    "STRASSE",
    "\u0130",
    "\u0131",
    "\u212a",
    "\u017f",
    "\ufb01",
    "\u1e9e",
]
SHELL = [
    ";id",
    "$(id)",
    "`id`",
    "|id",
    "&id",
    "x\ny",
    "'",
    '"',
    "\\'",
    "${HOME}",
    "$HOME",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "~",
    "~root",
    "!!",
    ">x",
    "<x",
    "#",
    "%s%n",
    "{0}",
]
DASHES = ["-", "--", "-rf", "--root=/", "--force", "-x", "\u2010x", "\u2014x", "--help", "-o/etc/passwd", "@file", "+x"]
ENCODED = [
    "%00",
    "%0a",
    "%2e%2e",
    "%2e%2e%2f",
    "%252e",
    "%u002e",
    "%ff",
    "%",
    "%%",
    "%2",
    "&lt;",
    "\\u002e",
    "=?utf-8?q?x?=",
]
MARKUP = [
    "<script>",
    "[[repo]]",
    'x" = 1',
    "'''",
    '"""',
    "<!--",
    "]]>",
    "{{7*7}}",
    "' OR 1=1 --",
    "'; DROP TABLE entries; --",
    "\x1b[31m",
    "\x1b]0;x\x07",
]
OWN = [
    ".model-cache",
    ".Model-Cache",
    ".MODEL-CACHE/index.db",
    ".model-cache/locks/x",
    "CACHEDIR.TAG",
    "datasets",
    "spaces",
    "Datasets",
    "index.db",
    "x@main",
    "@",
    "x@..",
    "x@refs%2Fpr%2F1",
    ".git",
    "x.git",
]
LONG = ["x" * n for n in (96, 97, 255, 256, 4096, 100_000)] + [
    "\u00e9" * 128,
    "/".join("x" * 60),
    "/".join(["x" * 250] * 17),
    "../" * 1000 + "etc/passwd",
    "a/" * 2048 + "x",
]
ABSOLUTE = [
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "/proc/self/fd/0",
    "/dev/zero",
    "file:///etc/passwd",
    "http://127.0.0.1/x",
    "C:/x",
    "~/x",
    "/../x",
]
UP = [
    "../x",
    "a/../x",
    "a/..",
    "a/../../x",
    "a/b/../../../x",
    "./../x",
    "..\\x",
    "a\\..\\..\\x",
    "..//x",
    "a/./../x",
    "../../../../../../etc/passwd",
]
KINDS = {
    "windows": WINDOWS, "dots": DOTS, "slashes": SLASHES, "steering": STEERING, "invisible": INVISIBLE, "controls": CONTROLS,
    "surrogates": SURROGATES, "folds": FOLDS, "shell": SHELL, "dashes": DASHES, "encoded": ENCODED, "markup": MARKUP, "own": OWN,
    "long": LONG, "absolute": ABSOLUTE, "up": UP,
}  # fmt: skip
SHAPES = ["{}", "a/{}", "{}/a", "a{}b", "{}a", "a{}", "owner/name/{}", "../{}", "{}/../x", "a/{}/b.bin", " {}", "{} "]


def names():
    """All of them, each once, in an order that does not change."""
    found = {"": None}
    for kind in KINDS.values():
        for shape, one in product(SHAPES, kind):
            found[shape.replace("{}", one)] = None
    return list(found)


def some(count):
    """So many of them, of all kinds."""
    everything = names()
    return everything[:: max(len(everything) // count, 1)]
