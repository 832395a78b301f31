"""What is taken over from a Hugging Face cache, and what is copied out of this one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from model_cache import ModelCache
from model_cache.hf.local import place_file
from model_cache.layout import Entry

from ..invariants import OWN
from ..site import NEW, REPO, Site
from .operation import Operation


def _foreign(site: Site) -> None:
    """A Hugging Face cache beside the site, with a file that the root lacks; what is copied of a site shares it."""
    repo = site.hub.store.find("model", REPO)
    assert repo is not None
    commit, data = repo.refs["main"], site.bytes(NEW)
    top = site.root.parent / "hub" / f"models--{REPO.replace('/', '--')}"
    link = top / "snapshots" / commit / NEW
    blob = top / "blobs" / hashlib.sha256(data).hexdigest()
    for directory in (top / "refs", link.parent, blob.parent):
        directory.mkdir(parents=True, exist_ok=True)
    (top / "refs" / "main").write_text(commit)
    blob.write_bytes(data)
    _note_tree(top, site, commit)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(blob, link.parent))
    # A copy of the site has the link too; nobody else looks there.
    (site.own / "hub").symlink_to(top.parent)


def _note_tree(top: Path, site: Site, commit: str) -> None:
    """The other cache knows what belongs to the commit."""
    store = site.hub.store
    repo = store.find("model", REPO)
    assert repo is not None
    files: dict[str, dict[str, object]] = {}
    for name, content in repo.commits[commit].files.items():
        files[name] = {"size": content.size, "blob_id": store.git_oid(content)}
        if store.is_large(content):
            files[name] |= {"lfs_sha256": content.sha256, "lfs_size": content.size}
    (top / "trees").mkdir(exist_ok=True)
    (top / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": files}))


def _import(*, link: bool = False) -> Callable[[ModelCache], object]:
    return lambda cache: cache.import_hf(cache.root / OWN / "hub", link=link)


def _at_its_commit(site: Site) -> None:
    """The new file may come to stand at its commit."""
    repo = site.hub.store.find("model", REPO)
    assert repo is not None
    path = Entry(REPO, NEW, repo.refs["main"]).relative
    site.expected.legal[path] = frozenset([hashlib.sha256(site.bytes(NEW)).hexdigest()])
    site.expected.optional |= {path}


def _local_dir(cache: ModelCache) -> object:
    """A copy beside the site, of a file that comes at its commit."""
    return place_file(cache, Entry(REPO, NEW), f"{cache.root}.local", force=False, offline=False)


OPERATIONS = (
    Operation("import", _import(), _foreign, about=(REPO, NEW)),
    Operation("import-link", _import(link=True), _foreign, about=(REPO, NEW)),
    Operation("local-dir", _local_dir, _at_its_commit, about=(REPO, NEW)),
)
