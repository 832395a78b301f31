"""A loopback hub with the repos that the peer's tests expect, and an `HfApi` that uploads to it without HTTP."""

from __future__ import annotations

import hashlib
import itertools
import os
from types import SimpleNamespace

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from model_cache.testing import LoopbackHub

USER = "__DUMMY_HUB_USER__"
ATTRIBUTES = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
LARGE = ".bin"  # what the attributes above keep in LFS


class Store:
    """The repos of a hub as their owner sees them: every change is a new commit.

    Args:
        hub: Where they are served.
    """

    def __init__(self, hub: LoopbackHub) -> None:
        self.hub = hub
        self.branches: dict[tuple[str, str], dict[str, bytes]] = {}
        self.flags: dict[str, dict[str, bool]] = {}
        self.numbers = itertools.count()

    def create(self, repo_id: str, **flags: bool) -> None:
        """A repo with the one file that the Hub puts into each."""
        self.flags[repo_id] = {"private": False, "gated": False, **flags}
        self.commit(repo_id, "main", {".gitattributes": ATTRIBUTES})

    def commit(self, repo_id: str, branch: str, files: dict[str, bytes]) -> str:
        """Add files to a branch; the commit's id."""
        held = self.branches.setdefault((repo_id, branch), {})
        held |= files
        return self.hub.add_repo(repo_id, held, revision=branch, **self.flags[repo_id])

    def branch(self, repo_id: str, branch: str) -> None:
        """A branch where `main` is."""
        self.branches[repo_id, branch] = dict(self.branches[repo_id, "main"])
        self.commit(repo_id, branch, {})

    def change(self, repo_id: str, **flags: bool) -> None:
        """Make a repo private or gated, or neither."""
        self.flags[repo_id] |= flags
        for repo, branch in list(self.branches):
            if repo == repo_id:
                self.commit(repo, branch, {})

    def move(self, repo_id: str, new_id: str) -> None:
        """Rename a repo; its old name leads to the new one."""
        self.hub.rename(repo_id, new_id)
        self.flags[new_id] = self.flags.pop(repo_id)
        for repo, branch in [key for key in self.branches if key[0] == repo_id]:
            self.branches[new_id, branch] = self.branches.pop((repo, branch))

    def blob(self, repo_id: str, path: str) -> SimpleNamespace:
        """What the Hub's API says of a file on `main`."""
        data = self.branches[repo_id, "main"][path]
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        lfs = SimpleNamespace(sha256=hashlib.sha256(data).hexdigest()) if path.endswith(LARGE) else None
        return SimpleNamespace(path=path, blob_id=git, lfs=lfs)


def api_class(store: Store, hf_hub_download: object = None, snapshot_download: object = None) -> type[HfApi]:
    """An `HfApi` that writes into the store; its two downloads are those given, or its own."""

    class Api(HfApi):
        def create_repo(self, repo_id, *, private=False, **_):
            full = repo_id if "/" in repo_id else f"{USER}/{repo_id}"
            store.create(full, private=bool(private))
            return _Address(f"{self.endpoint}/{full}", full)

        def delete_repo(self, repo_id, **_):
            """Stays until the hub goes."""

        def create_branch(self, repo_id, *, branch, **_):
            store.branch(repo_id, branch)

        def create_commit(self, repo_id, operations, *, revision="main", **_):
            files = {operation.path_in_repo: _bytes(operation.path_or_fileobj) for operation in operations}
            return SimpleNamespace(oid=store.commit(repo_id, revision or "main", files))

        def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, revision="main", **_):
            return SimpleNamespace(oid=store.commit(repo_id, revision, {path_in_repo: _bytes(path_or_fileobj)}))

        def update_repo_settings(self, repo_id, *, private, **_):
            store.change(repo_id, private=private)

        def move_repo(self, from_id, to_id, **_):
            store.move(from_id, to_id)

        def get_paths_info(self, repo_id, paths, **_):
            return [store.blob(repo_id, path) for path in paths]

    def forwarded(function):
        def method(self, repo_id, *args, token=None, **kwargs):
            token = self.token if token is None else token
            return function(repo_id, *args, endpoint=self.endpoint, token=token, **kwargs)

        return method

    if hf_hub_download is not None:
        Api.hf_hub_download = forwarded(hf_hub_download)
        Api.snapshot_download = forwarded(snapshot_download)
    return Api


class _Address(str):
    """The address of a repo, which knows the repo's id."""

    def __new__(cls, url: str, repo_id: str) -> _Address:
        self = super().__new__(cls, url)
        self.repo_id = repo_id
        return self


def _bytes(source: object) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return file.read()
    return source.read()


def gate(store: Store, url: str) -> SimpleNamespace:
    """Answer the request that makes the repo of a settings address gated."""
    repo_id = url.partition("/api/models/")[2].removesuffix("/settings")
    if repo_id not in store.flags:
        raise RepositoryNotFoundError(f"{repo_id} is not on this hub", response=None)
    store.change(repo_id, gated=True)
    return SimpleNamespace(status_code=200, headers={}, raise_for_status=lambda: None)


def furnish(store: Store) -> None:
    """The public repos that the tests name."""
    text = {name: f"{name} of a model\n".encode() * 40 for name in ("config.json", "README.md", "tf_model.h5")}
    model = text | {"pytorch_model.bin": bytes(range(251)) * 259}
    for name in ("julien-c/dummy-unknown", "hf-internal-testing/dummy-will-be-renamed"):
        store.create(name)
        store.commit(name, "main", model)
    store.move("hf-internal-testing/dummy-will-be-renamed", "hf-internal-testing/dummy-renamed")
    store.create("celinah/dummy-xet-testing")
    store.commit("celinah/dummy-xet-testing", "main", {"dummy.safetensors": b"weights" * 100})
    kernel = {"kernel.py": b"relu\n", "benchmarks/benchmark.py": b"pass\n"}
    for revision in ("main", "v1"):
        store.hub.add_repo(
            "kernels-community/relu", kernel | {"v": revision.encode()}, repo_type="kernel", revision=revision
        )
    layout = "hf-internal-testing/hfh-cache-layout"
    store.create(layout)
    store.commit(layout, "main", {"file_0.txt": b"File 0", "file_1.txt": b"File 1"})
    for branch in ("file-2", "file-3"):
        store.branch(layout, branch)
        store.commit(layout, branch, {f"{branch.replace('-', '_')}.txt": branch.encode()})
