"""What a race is about: repos and their files at each version, all from one seed, and which bytes are legal where."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

KIB, MIB = 1 << 10, 1 << 20
STILL = "race/still"  # a repo that nobody moves, removes, unpins or damages: what a cheap hit is measured on
_SHORTER = 777  # bytes that files lack in every other version
_BLOCK = 4096


class File(NamedTuple):
    """One file of one repo.

    Attributes:
        repo, name: Its names at the hub.
        size: Bytes at even versions.
        content: What its bytes are made of; two files with the same one have the same bytes at the same version.
    """

    repo: str
    name: str
    size: int
    content: str

    @property
    def path(self) -> str:
        """Where the entry of the default revision is, below the root."""
        return f"{self.repo}/{self.name}"


def digest(data: bytes | bytearray) -> str:
    """The sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class World:
    """Files, versions, and the bytes that may stand at each path.

    Args:
        seed: Everything follows from it.
        repos, files: How many repos there are, and how many files in each.
        largest: Bytes of the largest file.
    """

    seed: int
    repos: int = 4
    files: int = 6
    largest: int = 2 * MIB
    all: list[File] = field(init=False)
    versions: dict[str, int] = field(init=False)
    legal: dict[str, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.all = [*self._make(), File(STILL, "still.bin", 64 * KIB, "still")]
        self.versions = dict.fromkeys(sorted({file.repo for file in self.all}), 0)
        self.legal = {file.path: {digest(self.bytes_of(file, 0))} for file in self.all}

    def _make(self) -> Iterator[File]:
        chance = random.Random(f"{self.seed}/files")
        for r in range(self.repos):
            repo = f"race/model-{r}"
            for n in range(self.files):
                size = int(math.exp(chance.uniform(math.log(4 * KIB), math.log(self.largest))))
                folder = "onnx/" if n % 3 == 2 else ""
                yield File(repo, f"{folder}file-{n}.bin", size, f"{repo}/{n}")
            # The same bytes under two names, small and large: for these the cache makes links.
            for n, size in enumerate((20 * KIB, 700 * KIB)):
                yield File(repo, f"twin-{n}.bin", size, f"twin/{r // 2}/{n}")

    @property
    def moving(self) -> list[File]:
        """The files that are raced for."""
        return [file for file in self.all if file.repo != STILL]

    @property
    def occupied(self) -> int:
        """Bytes of blocks that all files together would take."""
        return sum(-(-file.size // _BLOCK) * _BLOCK for file in self.all)

    def bytes_of(self, file: File, version: int) -> bytes:
        """What the hub serves; no two blocks of it are alike, so that shifts, cuts and mixtures show."""
        size = max(file.size - _SHORTER * (version % 2), 1)
        return random.Random(f"{self.seed}/{file.content}/{version}").randbytes(size)

    def contents(self, repo: str) -> dict[str, bytes]:
        """All files of a repo at its present version."""
        return {file.name: self.bytes_of(file, self.versions[repo]) for file in self.all if file.repo == repo}

    def move(self, repo: str) -> None:
        """The repo has other bytes from here on; what it had stays legal."""
        self.versions[repo] += 1
        for file in self.all:
            if file.repo == repo:
                self.legal[file.path].add(digest(self.bytes_of(file, self.versions[repo])))
