"""What recovery finds of an entry and what it does about it, state after state; no process has to die for it."""

import os

import pytest
from support import FILE, REPO

from model_cache import stats
from model_cache.context import Context
from model_cache.index import Row
from model_cache.index.ledger import Installed, Ledger, Promise
from model_cache.index.room import Room
from model_cache.layout import Entry
from model_cache.preparing import prepare
from model_cache.progress import Progress
from model_cache.recorder import Recorder
from model_cache.recovery import allocated, decide, recount, recover
from model_cache.settings import Settings

# Inode, size, mtime.
OLD, NEW, OTHER = (11, 100, 1000), (22, 200, 2000), (33, 300, 3000)


def near(file):
    """What differs from a file in one respect only."""
    return [tuple(value + (i == j) for j, value in enumerate(file)) for i in range(3)]


# (state, next state, whether the row has an inode and the next one, {what stands at the path: finding})
STATES = [
    ("ready", None, True, False, {}),
    ("partial", None, False, False, {}),
    ("downloading", None, False, False, dict.fromkeys([None, OLD, NEW, OTHER], "stopped")),
    ("installing", None, True, False, {OLD: "ready"} | dict.fromkeys([None, *near(OLD), NEW, OTHER], "stopped")),
    ("deleting", None, True, False, {OLD: "ready"} | dict.fromkeys([None, *near(OLD), NEW, OTHER], "gone")),
    ("ready", "partial", True, False, {}),
    ("ready", "downloading", True, False, dict.fromkeys([None, OLD, NEW, OTHER], "keep")),
    ("ready", "installing", True, True, {NEW: "promote"} | dict.fromkeys([None, OLD, *near(NEW), OTHER], "keep")),
]


@pytest.mark.parametrize(("state", "next_state", "has", "has_next", "findings"), STATES)
def test_recovery_finds_what_inode_size_and_time_prove(state, next_state, has, has_next, findings):
    """A file is what a row says only if inode, size and mtime all agree; every state has one finding for each case."""
    values = dict.fromkeys(Row._fields) | {"state": state, "next_state": next_state, "next_charged": 0}
    if has:
        values |= dict(zip(("ino", "size", "mtime_ns"), OLD, strict=True))
    if has_next:
        values |= dict(zip(("next_ino", "next_size", "next_mtime_ns"), NEW, strict=True))
    row = Row(**values)
    for there in [None, OLD, *near(OLD), NEW, *near(NEW), OTHER]:
        assert decide(row, there) == findings.get(there, findings.get(OTHER)), there


@pytest.mark.parametrize(
    ("state", "next_state", "finding"),
    [("partial", None, "stopped"), ("ready", "partial", "keep"), ("ready", None, None), ("downloading", None, None)],
)
def test_a_row_that_tells_of_other_bytes_of_a_partial_is_counted_anew(state, next_state, finding):
    """A partial has its bytes counted as they are, and a row that says so already is left alone."""
    values = dict.fromkeys(Row._fields) | {"state": state, "next_state": next_state, "charged": 0, "next_charged": 0}
    row = Row(**values | {"next_charged" if next_state else "charged": 8192})
    assert [recount(row, left) for left in (0, 4096, 8192)] == [finding, finding, None]


ENTRY = Entry(REPO, FILE)
FIRST = Promise(4, None, "etag-1", "a" * 40)
SECOND = Promise(8, None, "etag-2", "b" * 40)
OURS, THEIRS = b"ours", b"theirs, not the cache's"


class Scene:
    """One entry in a root, brought into a state by the transactions of a download, an eviction or a replacement."""

    def __init__(self, root):
        self.steps = []
        self.ctx = Context(Settings({}, root=root), token=False, step=self.steps.append)
        prepare(self.ctx)
        self.path, self.partial = self.ctx.path(ENTRY), self.ctx.root_path / self.ctx.places.partial(ENTRY.key)
        self.trash = self.ctx.root_path / (self.ctx.places.trash + ENTRY.key)
        self.path.parent.mkdir(parents=True)
        self.ledger = Ledger(self.ctx.index)

    def installed(self, path):
        """What the index is told of a file that gets its name."""
        ino, size, mtime = stats.identity_at(path)
        return Installed(ino, mtime, size, allocated(path), "0" * 64)

    def installing(self, path, promise=FIRST, *, replacing=False):
        """A download of the file at `path` has come as far as its publication."""
        self.ledger.reserve(ENTRY, promise, 1, "holder", replacing=replacing)
        self.ledger.installing(ENTRY, self.installed(path), replacing=replacing)

    def ready(self):
        """A file stands at the path, and its row says so."""
        self.path.write_bytes(OURS)
        self.installing(self.path)
        self.ledger.ready(ENTRY, source="download")

    def deleting(self):
        """An eviction has begun."""
        self.ready()
        assert Room(self.ctx.index).deleting([self.row])

    @property
    def row(self):
        """What the index says."""
        return self.ledger.row(ENTRY)

    def recover(self):
        """Recover; the named steps that were taken meanwhile."""
        self.steps.clear()
        assert recover(self.ctx, ENTRY, Recorder(self.ctx, ENTRY, Progress())) == self.row
        return [name for name in self.steps if name.startswith("recover:")]


@pytest.fixture
def scene(root):
    """An entry of which nothing is known yet."""
    made = Scene(root)
    yield made
    made.ctx.close()


def test_what_is_whole_is_left_alone(scene):
    """A miss, and a file that is ready, have nothing to be settled; nothing is written for them."""
    assert scene.recover() == [] and scene.row is None
    scene.ready()
    before = scene.row
    assert scene.recover() == [] and scene.row == before


def test_published_bytes_become_ready_and_lose_their_second_name(scene):
    """A death after the publication and before the row leaves a file that counts, and one name of it."""
    scene.partial.write_bytes(OURS)
    scene.installing(scene.partial)
    scene.path.hardlink_to(scene.partial)
    assert scene.recover() == ["recover:unlink-partial", "recover:settle"]
    assert (scene.row.state, scene.row.verdict, scene.row.holder) == ("ready", "ok", None)
    assert scene.row.is_sealed and not scene.partial.exists() and scene.path.read_bytes() == OURS


def test_bytes_that_were_not_published_are_a_partial(scene):
    """A death before the publication leaves a partial, counted as what is allocated; the path stays as it is."""
    scene.partial.write_bytes(OURS)
    scene.installing(scene.partial)
    scene.path.write_bytes(THEIRS)
    assert scene.recover() == ["recover:settle"]
    assert (scene.row.state, scene.row.charged) == ("partial", allocated(scene.partial))
    assert scene.partial.read_bytes() == OURS and scene.path.read_bytes() == THEIRS
    assert scene.recover() == []


@pytest.mark.parametrize("made", [False, True])
def test_a_download_that_wrote_nothing_leaves_nothing(scene, made):
    """Without bytes there is no partial, and no row that promises one."""
    scene.ledger.reserve(ENTRY, FIRST, 1, "holder", replacing=False)
    if made:
        scene.partial.touch()
    assert scene.recover() == ["recover:settle"]
    assert scene.row is None and not scene.partial.exists()


def test_a_partial_without_a_row_stays_for_whoever_asks_next(scene):
    """Bytes of which the index says nothing, and that are not the file's second name, are not touched."""
    scene.partial.write_bytes(OURS)
    assert scene.recover() == [] and scene.partial.read_bytes() == OURS
    scene.path.write_bytes(THEIRS)
    assert scene.recover() == [] and scene.partial.read_bytes() == OURS


def test_a_partial_that_grew_without_the_index_is_counted_anew(scene):
    """A row tells of the bytes that are there; where none are left, nothing tells of any."""
    scene.partial.write_bytes(OURS)
    scene.ledger.reserve(ENTRY, FIRST, 1, "holder", replacing=False)
    scene.ledger.stopped(ENTRY, 1, replacing=False)
    assert scene.recover() == ["recover:settle"] and scene.row.charged == allocated(scene.partial)
    scene.partial.unlink()
    assert scene.recover() == ["recover:settle"] and scene.row is None


def test_an_eviction_that_did_not_happen_is_forgotten(scene):
    """A file that still stands when its evictor died is ready again, with all that was known of it."""
    scene.deleting()
    before = scene.row
    assert scene.recover() == ["recover:settle"]
    assert scene.row == before._replace(state="ready") and scene.path.read_bytes() == OURS


@pytest.mark.parametrize("instead", [False, True])
def test_an_eviction_that_happened_is_ended(scene, instead):
    """Bytes in the trash go, and their row after them; also where the directory of the path has gone, or is a file."""
    scene.deleting()
    scene.path.rename(scene.trash)
    scene.path.parent.rmdir()
    if instead:
        scene.path.parent.write_bytes(THEIRS)
    assert scene.recover() == ["recover:unlink-trash", "recover:settle"]
    assert scene.row is None and not scene.trash.exists()


def test_an_eviction_of_which_only_the_row_is_left_is_ended(scene):
    """Where the trash is empty already, the row goes, and whatever stands at the path by now stays."""
    scene.deleting()
    scene.path.unlink()
    scene.path.write_bytes(THEIRS)
    assert scene.recover() == ["recover:unlink-trash", "recover:settle"]
    assert scene.row is None and scene.path.read_bytes() == THEIRS


def test_what_somebody_put_in_the_place_of_a_victim_gets_its_name_back(scene):
    """A file that is not the recorded one was taken by mistake, and is given back (I7)."""
    scene.deleting()
    scene.path.unlink()
    scene.trash.write_bytes(THEIRS)
    scene.recover()
    assert scene.row is None and scene.path.read_bytes() == THEIRS and not scene.trash.exists()


@pytest.mark.parametrize("instead", [False, True])
def test_what_cannot_be_given_back_stays_in_the_trash(scene, instead):
    """Where the directory of somebody's file has gone, the file is not lost, and the row is settled all the same."""
    scene.deleting()
    scene.path.unlink()
    scene.path.parent.rmdir()
    if instead:
        scene.path.parent.write_bytes(THEIRS)
    scene.trash.write_bytes(THEIRS)
    scene.recover()
    assert scene.row is None and scene.trash.read_bytes() == THEIRS


def test_a_link_in_the_trash_is_given_back_though_it_leads_nowhere(scene):
    """A dangling symlink of somebody's is theirs as well."""
    scene.deleting()
    scene.path.unlink()
    scene.trash.symlink_to("nowhere")
    scene.recover()
    assert os.readlink(scene.path) == "nowhere"


def test_a_replacement_that_happened_becomes_the_entry(scene):
    """The new file stands at the path: the new values are the entry's."""
    scene.ready()
    scene.partial.write_bytes(b"replaced")
    scene.installing(scene.partial, SECOND, replacing=True)
    scene.partial.rename(scene.path)
    assert scene.recover() == ["recover:settle"]
    assert (scene.row.state, scene.row.etag, scene.row.next_state) == ("ready", "etag-2", None)


@pytest.mark.parametrize("size", [0, 8])
def test_a_replacement_that_did_not_happen_leaves_its_partial(scene, size):
    """The old file and its values stay; what had come of the new one is counted, and an empty partial goes."""
    scene.ready()
    before = scene.row
    scene.partial.write_bytes(b"n" * size)
    scene.installing(scene.partial, SECOND, replacing=True)
    assert scene.recover() == ["recover:settle"]
    kept = ("partial", allocated(scene.partial)) if size else (None, 0)
    assert scene.row == before._replace(next_state=kept[0], next_charged=kept[1])
    assert scene.partial.exists() == bool(size) and scene.path.read_bytes() == OURS


def test_a_symlink_counts_as_itself(tmp_path):
    """The bytes of what a link leads to are not those of the cache's own name, and nothing has none."""
    (tmp_path / "file").write_bytes(bytes(100_000))
    (tmp_path / "link").symlink_to("file")
    assert allocated(str(tmp_path / "file")) == os.stat(tmp_path / "file").st_blocks * 512 > 0
    assert allocated(str(tmp_path / "link")) == os.lstat(tmp_path / "link").st_blocks * 512
    assert allocated(str(tmp_path / "none")) == 0
