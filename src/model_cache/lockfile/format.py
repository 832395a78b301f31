"""The text of a lock file: TOML, sorted, a line per file, so that a diff shows which files changed; pure.

Each value is checked as if somebody hostile had written it: names by `layout`, hashes by their shape, and no two entries
may share a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple, NoReturn

from ..errors import InvalidNameError, LockFileError
from ..layout import Entry, is_commit, is_sha256
from ..units import LARGEST, shown

VERSION = 1
_START = f"""\
# Files from the Hugging Face Hub, each with its bytes. Made by model-cache lock, for model-cache sync.
version = {VERSION}
"""
_TABLE = "\n[[repo]]\n"
_REPO_KEYS = ("repo", "repo_type", "revision", "commit")
_FILE_KEYS = frozenset(["path", "size", "sha256"])


class Locked(NamedTuple):
    """One file, and which bytes it has.

    Attributes:
        entry: Its names; the revision is the one that was asked for.
        commit: The 40-hex commit that its bytes come from.
        size: Bytes.
        sha256: 64 hex digits.
        git_sha1: 40 hex digits, where that is the Hub's own identifier of the bytes (small files), else None.
    """

    entry: Entry
    commit: str
    size: int
    sha256: str
    git_sha1: str | None = None

    @property
    def etag(self) -> str:
        """The Hub's identifier of the bytes."""
        return self.git_sha1 or self.sha256

    @property
    def table(self) -> tuple[str, str, str, str]:
        """What it shares with the other files of its table: (repo type, repo, revision, commit)."""
        return self.entry.repo_type, self.entry.repo, self.entry.revision, self.commit


def dump(files: Iterable[Locked]) -> str:
    """The text for these files; the same for the same files in any order.

    Raises:
        LockFileError: Two of them would share a path.
    """
    ordered = sorted(files, key=lambda file: (file.table, file.entry.filename))
    check_paths([file.entry for file in ordered], "")
    parts = [_START]
    for (repo_type, repo, revision, commit), group in groupby(ordered, lambda file: file.table):
        parts.append(f'{_TABLE}repo = "{repo}"\nrepo_type = "{repo_type}"\nrevision = "{revision}"\n')
        parts.append(f'commit = "{commit}"\nfiles = [\n')
        parts += map(_line, group)
        parts.append("]\n")
    return "".join(parts)


def _line(file: Locked) -> str:
    # Of what TOML escapes, names have quotation marks alone: `layout` refuses backslashes and control characters.
    path = file.entry.filename.replace('"', '\\"')
    git_sha1 = f', git_sha1 = "{file.git_sha1}"' if file.git_sha1 else ""
    return f'  {{ path = "{path}", size = {file.size}, sha256 = "{file.sha256}"{git_sha1} }},\n'


def parse(text: str, name: str) -> list[Locked]:
    """The files of a lock file's text, in the order they stand in it.

    Args:
        name: What the file is called in messages.

    Raises:
        LockFileError: It is no TOML, of another version, or one of its values cannot be; which.
    """
    document = as_written(text) or _as_toml(text, name)
    version = document.pop("version", None)
    if type(version) is not int:
        refuse(name, f"expected version = {VERSION}, found {shown(version)}: this is no lock file")
    if version != VERSION:
        hint = "install a model-cache that does, or make the file anew: model-cache lock --force"
        raise LockFileError(
            f"lock file {name} is of version {shown(version)}, and this model-cache knows version {VERSION}",
            hint=hint,
            path=name,
        )
    repos = document.pop("repo", None)
    if document or not isinstance(repos, list) or not repos:
        found = ", ".join(map(shown, document)) or "none"
        refuse(name, f"expected tables [[repo]] and nothing else, found {found}")
    files = [file for number, table in enumerate(repos, 1) for file in _files(table, f"repo {number}", name)]
    check_paths([file.entry for file in files], name)
    return files


def refuse(name: str, what: str) -> NoReturn:
    """Raise the error for a lock file that makes no sense."""
    raise LockFileError(f"lock file {name}: {what}", path=name)


def as_written(text: str) -> dict[str, Any] | None:
    """What a TOML parser makes of a text, if it is laid out as `dump` does it; else None.

    A readiness probe that reads a few hundred files has no time for a parser of all of TOML.
    """
    start, *tables = text.split(_TABLE)
    if start != _START or "\\" in text:
        return None
    repos = []
    for table in tables:
        *head, body = table.split("\n", len(_REPO_KEYS) + 1)
        values = [_text(line, key) for line, key in zip(head, _REPO_KEYS, strict=False)]
        if len(head) <= len(_REPO_KEYS) or None in values or head[-1] != "files = [" or not body.endswith("\n]\n"):
            return None
        files = [_plain_file(line) for line in body.removesuffix("\n]\n").split("\n")]
        if None in files:
            return None
        repos.append({**dict(zip(_REPO_KEYS, values, strict=True)), "files": files})
    return {"version": VERSION, "repo": repos} if repos else None


def _text(line: str, key: str) -> str | None:
    """What stands after `key =` in quotation marks."""
    parts = line.split('"')
    return parts[1] if len(parts) == 3 and (parts[0], parts[2]) == (f"{key} = ", "") else None


def _plain_file(line: str) -> dict[str, Any] | None:
    parts = line.split('"')
    if len(parts) not in (5, 7) or parts[0] != "  { path = " or parts[-1] != " }," or parts[4:5] == [""]:
        return None
    before, size, after = parts[2].partition(", size = ")
    number, _, rest = after.partition(",")
    if before or not size or rest != " sha256 = " or not number.isascii() or not number.isdecimal():
        return None
    if len(number) > 19 or (number[0] == "0" and number != "0"):
        return None
    found: dict[str, Any] = {"path": parts[1], "size": int(number), "sha256": parts[3]}
    if len(parts) == 7:
        if parts[4] != ", git_sha1 = ":
            return None
        found["git_sha1"] = parts[5]
    return found


def _as_toml(text: str, name: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        refuse(name, f"expected TOML: {reason}")


def _files(table: object, where: str, name: str) -> Iterator[Locked]:
    """The files of one table; raises LockFileError."""
    if not isinstance(table, dict) or set(table) != {*_REPO_KEYS, "files"}:
        refuse(name, f"{where}: expected {', '.join(_REPO_KEYS)} and files, found {_keys(table)}")
    repo_type, repo, revision, commit = (table[key] for key in ("repo_type", "repo", "revision", "commit"))
    if not is_commit(commit):
        refuse(name, f"{where}: commit: expected 40 hex digits, found {shown(commit)}")
    if is_commit(revision) and revision != commit:
        refuse(name, f"{where}: revision {revision} is a commit, and its files are of another one, {commit}")
    files = table["files"]
    if not isinstance(files, list) or not files:
        refuse(name, f"{where}: files: expected a list of one file or more, found {shown(files)}")
    for number, file in enumerate(files, 1):
        here = f"{where}, file {number}"
        _check_file(file, here, name)
        try:
            entry = Entry(repo, file["path"], revision, repo_type)
        except InvalidNameError as error:
            refuse(name, f"{here}: {error}")
        except TypeError:  # a list or table where a name should be
            refuse(name, f"{where}: expected texts as names, found {shown([repo, revision, repo_type])}")
        yield Locked(entry, commit, file["size"], file["sha256"], file.get("git_sha1"))


def _check_file(file: object, where: str, name: str) -> None:
    if not isinstance(file, dict) or set(file) - {"git_sha1"} != _FILE_KEYS:
        refuse(name, f"{where}: expected path, size, sha256 and perhaps git_sha1, found {_keys(file)}")
    size, sha256, git_sha1 = file["size"], file["sha256"], file.get("git_sha1", "0" * 40)
    if type(size) is not int or not 0 <= size <= LARGEST:
        refuse(name, f"{where}: size: expected bytes, found {shown(size)}")
    if not is_sha256(sha256):
        refuse(name, f"{where}: sha256: expected 64 hex digits, found {shown(sha256)}")
    if not is_commit(git_sha1):
        refuse(name, f"{where}: git_sha1: expected 40 hex digits, found {shown(git_sha1)}")


def _keys(found: object) -> str:
    return ", ".join(sorted(map(shown, found))) or "nothing" if isinstance(found, Mapping) else shown(found)


def check_paths(entries: Iterable[Entry], name: str) -> None:
    """Refuse entries of which two could not stand in one cache: at the same path, or one below the other's file.

    Raises:
        LockFileError: Which.
    """
    known: dict[str, Entry] = {}
    for entry in entries:
        other = known.setdefault(entry.relative, entry)
        if other is not entry:
            twice = (
                f"{entry} twice" if other == entry else f"{other} and {entry}, which share the path {entry.relative}"
            )
            refuse(name, f"it has {twice}")
    folders: set[str] = set()
    for path in known:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    for path in sorted(folders & known.keys()):
        refuse(name, f"it has {known[path]}, and files below {path}")
