"""What keeps files and index as they should be: verify, repair, reconcile, gc, backups."""

from __future__ import annotations

import os
import shutil

from model_cache import ModelCache
from model_cache.doctor.fixing import look

from ..older import downgrade
from ..site import NAMES, NEW, REPO, Site
from .operation import BAD, DAY, TIGHT, Operation, allow_all, fetch


def _rotten(site: Site) -> None:
    site.rot()
    site.allow(BAD)


def _known(site: Site) -> None:
    """Damage that verify has marked; all is pinned."""
    _rotten(site)
    site.cache().verify()
    site.cache().pin(REPO, *NAMES)


def _known_alone(site: Site) -> None:
    _known(site)
    site.forget_commit()


def _aside(site: Site) -> None:
    """Damaged bytes in quarantine."""
    _known(site)
    site.cache().verify(repair=True)
    site.expected.rotten.clear()


def _rearranged(site: Site) -> None:
    """A file that was touched, one that came back from a backup, one that was removed."""
    site.path(NAMES[1]).touch()
    copy = site.path(f"{NAMES[2]}.copy")
    shutil.copyfile(site.path(NAMES[2]), copy)
    os.replace(copy, site.path(NAMES[2]))
    site.path(BAD).unlink()
    site.allow(BAD)


def _begun_anew(site: Site) -> None:
    """The same, of which the index knows nothing until every file has been entered again."""
    _rearranged(site)
    site.expected.counted = False


def _backed_up(site: Site) -> None:
    """A backup, a further file that it does not know, and no index."""
    site.cache(ahead=DAY).gc()
    site.cache().fetch(REPO, NEW)
    _known(site)
    _lose_index(site)


def _lose_index(site: Site) -> None:
    (site.own / "index.db").unlink()
    site.expected.counted = False


def _older(site: Site) -> None:
    downgrade(site.root)


def _open_to_all(site: Site) -> None:
    """Modes that everybody may write by, of a model file, a directory, and files of the cache's own."""
    for path in (site.path(BAD), site.path(BAD).parent, site.own / "trash", site.own / "index.db"):
        path.chmod(path.stat().st_mode | 0o022)


def _fix(cache: ModelCache) -> object:
    return look(cache._ctx, fix=True)


OPERATIONS = (
    Operation("gc", lambda cache: cache.gc(max_size=0), allow_all),
    Operation("rm", lambda cache: cache.remove(REPO), allow_all),
    Operation("pin", lambda cache: cache.pin(REPO)),
    Operation("verify", lambda cache: cache.verify(), _rotten),
    Operation("repair", lambda cache: cache.verify(repair=True), _rotten),
    Operation("repair-alone", lambda cache: cache.verify(repair=True), _known_alone),
    Operation("repair-dropped", lambda cache: cache.verify(repair=True), _known, TIGHT),
    Operation("fetch-damaged", fetch(BAD), _known),
    Operation("expire", lambda cache: cache.gc(), _aside, ahead=31 * DAY),
    Operation("reconcile", lambda cache: cache.reconcile(), _rearranged),
    Operation("rebuild", lambda cache: cache.reconcile(rebuild=True), _begun_anew),
    Operation("migrate", lambda cache: cache.pin(REPO, BAD), _older),
    Operation("backup", lambda cache: cache.gc(), ahead=DAY),
    Operation("restore", lambda cache: cache.verify(), _backed_up),
    Operation("fix", _fix, _open_to_all),
    Operation("census", fetch(), _lose_index, {"max_size": "1GB"}, about=(REPO, NEW)),
)
