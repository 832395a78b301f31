"""Names to paths: which entry lives where below a root, and which names are refused; pure, no I/O.

`Entry` is the one gate. Every name that comes from a caller, a command line, the Hub or the index passes its checks
before it becomes a path.

Two different entries can stand for one path (`gpt2` with `onnx/x`, and `gpt2/onnx` with `x`); `readings` lists all
that a path can mean, and whoever serves or writes a path refuses when another reading already owns it.
"""

from __future__ import annotations

import os

from .errors import InvalidNameError

try:
    from _blake2 import blake2b  # hashlib would load OpenSSL, 3 ms that a first hit need not pay
except ImportError:  # pragma: no cover - other interpreters than CPython
    from hashlib import blake2b

TYPE_CHECKING = False  # typing is not worth its 3 ms at import; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OWN = ".model-cache"  # everything of the cache's own; a repo id cannot begin with a dot
DEFAULT_REVISION = "main"
# Where each repo type lives below the root, as in the Hub's own URLs.
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/", "kernel": "kernels/"}

_REPO_LENGTH = 96  # the Hub's limit for each part of a repo id
_PART_BYTES = 255  # NAME_MAX of ext4, XFS, APFS, NTFS
PATH_BYTES = 4095  # PATH_MAX of Linux, less the closing NUL
_REPO_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
# Names that Windows keeps for devices, with any extension; refused everywhere so that a root can be moved.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10)]
)
# Directional embeddings, overrides and isolates, and the two separators that end a line: a name with them is not the
# name that a person reads (https://trojansource.codes).
_STEERING = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]))
_HEX = frozenset("0123456789abcdef")
_RESERVED_OWNERS = frozenset(["datasets", "spaces", "kernels", "models", "cachedir.tag"])


class Entry:
    """One file of one repo at one revision: a validated name.

    Attributes:
        repo_type: `model`, `dataset`, `space` or `kernel`.
        repo: `name` or `owner/name`.
        revision: A branch, a tag or a 40-hex commit; `main` by default.
        filename: The path inside the repo, with `/` between its parts.
        relative: The path below the root that the four stand for.

    Raises:
        InvalidNameError: A name that cannot stand for a path in a cache; the message says which and why.
    """

    __slots__ = ("_key", "filename", "relative", "repo", "repo_type", "revision")

    def __init__(self, repo: str, filename: str, revision: str = DEFAULT_REVISION, repo_type: str = "model") -> None:
        directory = repo_directory(repo, revision, repo_type)
        check_filename(filename)
        self.repo_type = repo_type
        self.repo = repo
        self.revision = revision
        self.filename = filename
        self.relative = f"{directory}/{filename}"
        self._key = ""

    @property
    def key(self) -> str:
        """32 hex digits that stand for the four names: the name of this entry's files under `.model-cache/`."""
        if not self._key:
            names = "\0".join((self.repo_type, self.repo, self.revision, self.filename))
            self._key = blake2b(names.encode(), digest_size=16).hexdigest()
        return self._key

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The four names: (repo type, repo, revision, filename)."""
        return self.repo_type, self.repo, self.revision, self.filename

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return f"Entry({self})"

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"{PREFIXES[self.repo_type]}{self.repo}{revision} {self.filename}"

    def path(self, root: str) -> str:
        """The entry's place below `root`; raises InvalidNameError where that is longer than a path may be."""
        path = f"{root}/{self.relative}" if root != "/" else f"/{self.relative}"
        # No character takes more than four bytes: what is short need not be encoded to be measured.
        if len(path) * 4 > PATH_BYTES and len(os.fsencode(path)) > PATH_BYTES:
            raise _refused("filename", self.filename, f"makes a path of more than {PATH_BYTES} bytes below {root}")
        return path


class Snapshot:
    """One repo at one revision: a validated name, of which each `Entry` is a file.

    Raises:
        InvalidNameError: A name that cannot stand for a directory in a cache.
    """

    __slots__ = ("directory", "key", "repo", "repo_type", "revision")

    def __init__(self, repo: str, revision: str = DEFAULT_REVISION, repo_type: str = "model") -> None:
        self.directory = repo_directory(repo, revision, repo_type)
        self.repo, self.revision, self.repo_type = repo, revision, repo_type
        # No entry has this key: a filename is never empty.
        self.key = blake2b("\0".join((repo_type, repo, revision, "")).encode(), digest_size=16).hexdigest()

    def entry(self, filename: str) -> Entry:
        """A file of it; raises InvalidNameError."""
        return Entry(self.repo, filename, self.revision, self.repo_type)

    def __str__(self) -> str:
        return self.directory


def _refused(what: str, value: object, reason: str, hint: str = "") -> InvalidNameError:
    shown = repr(value)
    if len(shown) > 120:
        shown = f"{shown[:117]}..."
    return InvalidNameError(f"{what} {shown} {reason}", hint=hint)


def repo_directory(repo: str, revision: str = DEFAULT_REVISION, repo_type: str = "model") -> str:
    """The directory of a repo at a revision, relative to the root; raises InvalidNameError."""
    if repo_type not in PREFIXES:
        raise _refused("repo type", repo_type, f"is not one of {', '.join(PREFIXES)}")
    _check_repo(repo)
    directory = PREFIXES[repo_type] + repo
    if revision != DEFAULT_REVISION:
        directory += "@" + _encode_revision(revision)
        _check_part("revision", revision, directory.rpartition("/")[2])
    return directory


def _check_repo(repo: str) -> None:
    if not isinstance(repo, str):
        raise _refused("repo", repo, "is not a string")
    parts = repo.split("/")
    if len(parts) > 2 or not all(parts):
        raise _refused("repo", repo, "is not of the form name or owner/name", _meant(parts))
    if parts[0].lower() in _RESERVED_OWNERS:
        raise _refused(
            "repo", repo, f"begins with the reserved name {parts[0]!r}; name a dataset or space by its repo type"
        )
    for part in parts:
        if not _REPO_CHARACTERS.issuperset(part):  # so of the rules for any path only the device names are left
            hint = "a revision is an option of its own (--revision)" if "@" in part else ""
            raise _refused("repo", repo, "has characters other than letters, digits, '-', '_' and '.'", hint)
        if len(part) > _REPO_LENGTH:
            raise _refused("repo", repo, f"has a part of more than {_REPO_LENGTH} characters")
        if part[0] in ".-" or part[-1] in ".-" or "--" in part or ".." in part or part.lower().endswith(".git"):
            raise _refused(
                "repo", repo, "has a part with '--' or '..' in it, '-' or '.' at an end, or that ends in '.git'"
            )
        _check_device("repo", repo, part)


def _meant(parts: list[str]) -> str:
    """What is to be given in place of an address, or of a repo with a file; empty where nobody can tell."""
    if parts[0] in ("http:", "https:", "hf:"):
        parts = parts[2 if parts[0] == "hf:" else 3 :]  # behind "//", and the name of the host
    kind = f", with --repo-type {parts[0][:-1]}" if parts and parts[0] in ("datasets", "spaces") else ""
    parts = parts[1:] if kind else parts
    if len(parts) < 2 or not all(_REPO_CHARACTERS.issuperset(part) and part for part in parts[:2]):
        return ""
    file = ", and a filename is an argument of its own" if parts[2:] else ""
    return f"the repo is {parts[0]}/{parts[1]}{kind}{file}"


def _encode_revision(revision: str) -> str:
    if not isinstance(revision, str) or not revision:
        raise _refused("revision", revision, "is not a branch, tag or commit")
    if ".." in revision or revision[0] in "/-" or revision[-1] == "/" or "//" in revision:
        raise _refused("revision", revision, "is not a name git allows")
    if any(character in ' ~^:?*[\\"<>|' for character in revision):
        raise _refused("revision", revision, "has a character git does not allow in a name")
    # '%' too, so that no two revisions share a directory.
    return revision.replace("%", "%25").replace("/", "%2F")


def _decode_revision(text: str) -> str:
    return text.replace("%2F", "/").replace("%25", "%")


def check_filename(filename: str) -> None:
    """Refuse a filename that is not a plain relative path inside a repo.

    Raises:
        InvalidNameError: Absolute, empty parts, `.` or `..`, control characters, backslashes, drive letters, device
            names, trailing dots or spaces, parts over 255 bytes, or text that is no valid Unicode.
    """
    if not isinstance(filename, str) or not filename:
        raise _refused("filename", filename, "is not a path inside a repo")
    if filename[0] == "/":
        raise _refused("filename", filename, "is absolute; expected a path inside the repo")
    for part in filename.split("/"):
        _check_part("filename", filename, part)


def _check_part(what: str, whole: str, part: str) -> None:
    """The rules that hold for each part of any path here."""
    if _REPO_CHARACTERS.issuperset(part) and len(part) <= _PART_BYTES and part.strip(".") == part != "":
        _check_device(what, whole, part)  # as most names are: no other rule could refuse it
        return
    if part in ("", ".", ".."):
        raise _refused(what, whole, f"has the part {part!r}")
    if part.lower() == OWN:
        raise _refused(what, whole, f"enters {OWN}, which is the cache's own")
    if "\\" in part or not (part.isascii() and part.isprintable()):
        _check_characters(what, whole, part)
    if part[-1] in ". ":
        raise _refused(what, whole, "has a part that ends in a dot or a space")
    if len(part) > 1 and part[1] == ":" and part[0].isascii() and part[0].isalpha():
        raise _refused(what, whole, "begins a part with a drive letter")
    _check_device(what, whole, part)
    try:
        length = len(part) if part.isascii() else len(part.encode())
    except UnicodeEncodeError:
        raise _refused(what, whole, "is not valid Unicode") from None
    if length > _PART_BYTES:
        raise _refused(what, whole, f"has a part of more than {_PART_BYTES} bytes")


def _check_characters(what: str, whole: str, part: str) -> None:
    if "\\" in part or any(character < " " or "\x7f" <= character <= "\x9f" for character in part):
        raise _refused(what, whole, "has a backslash or a control character")
    if not _STEERING.isdisjoint(part):
        raise _refused(
            what, whole, "has a character that reorders or breaks text, so that it would be shown as another"
        )


def _check_device(what: str, whole: str, part: str) -> None:
    if part.split(".", 1)[0].rstrip(" ").lower() in _DEVICES:
        raise _refused(what, whole, "uses a device name of Windows")


def readings(relative: str) -> Iterator[Entry]:
    """All entries that the path `relative` below a root can stand for, `owner/name` repos first.

    A path below an `owner/name` repo can also be read as a file in a sub-directory of a repo called `owner`.
    """
    repo_type, rest = "model", relative
    for kind, prefix in PREFIXES.items():
        if prefix and relative.startswith(prefix):
            repo_type, rest = kind, relative[len(prefix) :]
    parts = rest.split("/")
    for depth in (2, 1):
        if len(parts) <= depth:
            continue
        *owner, last = parts[:depth]
        name, _, revision = last.partition("@")
        try:
            entry = Entry(
                "/".join([*owner, name]),
                "/".join(parts[depth:]),
                _decode_revision(revision) or DEFAULT_REVISION,
                repo_type,
            )
        except InvalidNameError:
            continue
        if entry.relative == relative:
            yield entry


def is_sha256(value: object) -> bool:
    """Whether this is a sha256 in 64 lower-case hex digits."""
    return _is_hex(value, 64)


def is_commit(value: object) -> bool:
    """Whether this is a full commit id: 40 lower-case hex digits."""
    return _is_hex(value, 40)


def is_key(value: object) -> bool:
    """Whether this can be the key of an entry: 32 lower-case hex digits."""
    return _is_hex(value, 32)


def _is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and _HEX.issuperset(value)


def clash(name: str, present: Iterable[str]) -> str | None:
    """The name among those present that a file system which folds would take for this one, though it is another.

    Folding is by case (Unicode's full case folding) or by composition (NFC); file systems differ in the details, and
    this is the widest of them.
    """
    from unicodedata import normalize  # only asked where the file system folds

    folded = normalize("NFC", normalize("NFC", name).casefold())
    for other in present:
        if other != name and normalize("NFC", normalize("NFC", other).casefold()) == folded:
            return other
    return None


def rivals(entry: Entry) -> list[Entry]:
    """The other entries that would share this entry's path."""
    return [other for other in readings(entry.relative) if other != entry]
