"""Whole repos: one commit, every file once, and never a part for the whole."""

import errno
import os
import signal
import threading

import pytest
from job_equipment import until
from support import FILE, REPO, Later, finish, pattern
from test_processes import wait_for_partial

from model_cache import (
    DownloadError,
    FileTooLargeError,
    InUseError,
    InvalidNameError,
    ModelCache,
    NotFoundError,
    OfflineMissError,
    SettingError,
    StorageError,
    listings,
)
from model_cache.download.many import Wanted, fetch_many
from model_cache.download.request import Request
from model_cache.hub.client import FileMeta
from model_cache.layout import Entry, Snapshot
from model_cache.preparing import prepare
from model_cache.testing import LoopbackHub

MIB = 1 << 20
FILES = {
    "config.json": b'{"a": 1}',
    "tokenizer.json": pattern(20_000, 1),
    "onnx/model.onnx": pattern(2 * MIB, 2),
    "onnx/config.json": b"{}",
    FILE: pattern(3 * MIB, 3),
}
FETCH = f'print(cache.fetch_repo("{REPO}"))'


def contents(directory):
    """What is below a directory: {path: bytes}."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def served(hub):
    """A hub that has the repo; its commit."""
    return hub.add_repo(REPO, FILES)


def test_a_repo_is_its_directory_of_plain_files(cache, served, root):
    """Every file stands under its own name, no link, with the bytes of the Hub, and in a row of that commit."""
    directory = cache.fetch_repo(REPO)
    assert directory == root / "owner" / "name"
    assert contents(directory) == FILES
    assert not any(path.is_symlink() for path in directory.rglob("*"))
    assert {(row.filename, row.commit, row.state) for row in cache.entries()} == {
        (name, served, "ready") for name in FILES
    }
    assert cache.usage().all == sum(row.charged for row in cache.entries())
    assert cache.verify(max_age=0).exit_code(strict=True) == 0


def test_each_file_costs_one_request_and_the_repo_two(cache, hub):
    """The listing has sizes and hashes, so nobody asks for a file's metadata; two small files tell where the rest is."""
    hub.add_repo(REPO, {f"{number}.json": pattern(500 + number) for number in range(40)})
    cache.fetch_repo(REPO, workers=4)
    assert hub.count("HEAD") == 0
    assert len(hub.requests) <= 40 + 2 + 2
    assert hub.body_gets() == 40


def test_a_repo_that_is_there_asks_no_network(cache, hub, served):
    """The second call, in this process or another one, sends nothing."""
    cache.fetch_repo(REPO)
    hub.reset()
    assert cache.fetch_repo(REPO) == ModelCache(cache.root, endpoint=hub.url).fetch_repo(REPO, offline=True)
    assert hub.requests == []


def test_all_files_come_from_the_commit_that_was_resolved(cache, hub, served):
    """A branch that moves in the middle changes nothing: what is fetched afterwards is of the first commit too."""
    with pytest.raises(DownloadError):
        hub.fault(FILE, "status", times=None, status=404)
        cache.fetch_repo(REPO)
    hub.clear_faults()
    hub.add_repo(REPO, {name: data + b"moved" for name, data in FILES.items()})
    assert contents(cache.fetch_repo(REPO)) == FILES
    assert cache.fetch(REPO, FILE).read_bytes() == FILES[FILE]


def test_files_that_were_fetched_one_by_one_decide_the_commit(cache, hub, served):
    """The rest of a repo is taken from the commit of what is there already."""
    cache.fetch(REPO, "config.json")
    hub.add_repo(REPO, {name: data + b"moved" for name, data in FILES.items()})
    assert contents(cache.fetch_repo(REPO)) == FILES


def test_a_single_file_of_a_listed_repo_needs_no_question(cache, hub, served):
    """What `fetch` wants of a repo that was asked for as a whole is asked for by its body alone."""
    cache.fetch_repo(REPO, include="*.json")
    hub.reset()
    assert cache.fetch(REPO, FILE).read_bytes() == FILES[FILE]
    assert hub.count("HEAD") == 0


def test_a_part_is_not_the_whole(cache, served):
    """Offline a repo of which some files are there is refused, saying how many; what was selected is handed out."""
    cache.fetch_repo(REPO, include=["*.json"], exclude="onnx/*")
    with pytest.raises(OfflineMissError, match=r"2 of 5 files are in the cache, model\.bin is not \(among others\)"):
        cache.fetch_repo(REPO, offline=True)
    assert contents(cache.fetch_repo(REPO, include="*.json", exclude="onnx/", offline=True)).keys() == {
        "config.json",
        "tokenizer.json",
    }


def test_a_repo_nobody_asked_for_is_not_known_to_be_whole(cache, served):
    """Offline the directory of files that were fetched one by one is not handed out: nobody knows what belongs to it."""
    for name in FILES:
        cache.fetch(REPO, name)
    with pytest.raises(OfflineMissError, match="what belongs to it was never asked"):
        cache.fetch_repo(REPO, offline=True)


def test_a_file_that_is_gone_is_fetched_again(cache, hub, served):
    """A repo that was whole, and of which a file was removed, is made whole."""
    directory = cache.fetch_repo(REPO)
    (directory / FILE).unlink()
    hub.reset()
    assert contents(cache.fetch_repo(REPO)) == FILES
    assert hub.body_gets() == 1


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b'{"version": 9}', b"\xff", b'{"version":1,"files":[[1,2,3,4]]}']
)
def test_a_listing_that_makes_no_sense_is_asked_for_again(cache, hub, served, damage):
    """Whoever may write the root may have written it."""
    cache.fetch_repo(REPO)
    with open(listings.place(cache._ctx, Snapshot(REPO)), "wb") as file:
        file.write(damage)
    other = ModelCache(cache.root, endpoint=hub.url, token=False)
    assert contents(other.fetch_repo(REPO)) == FILES
    assert other.fetch_repo(REPO, offline=True)


def test_other_revisions_stand_beside_and_share_what_is_the_same(cache, hub, served):
    """A second revision downloads what differs; the rest are further names of the same files, and count once."""
    cache.fetch_repo(REPO)
    used = cache.usage().all
    hub.add_repo(REPO, FILES | {"config.json": b"other"}, revision="dev")
    hub.reset()
    directory = cache.fetch_repo(REPO, revision="dev")
    assert directory.name == "name@dev"
    assert hub.body_gets() == 1
    assert cache.usage().all - used == (directory / "config.json").stat().st_blocks * 512
    assert all((directory / name).samefile(cache.path(REPO, name)) for name in FILES if name != "config.json")


def test_a_commit_needs_no_network_ever_again(cache, hub, served):
    """A repo at a commit is asked for by its listing alone, and after that by nothing."""
    cache.fetch_repo(REPO, revision=served)
    assert hub.count("GET", "/revision/") == 0
    hub.stop()
    assert contents(ModelCache(cache.root, endpoint=hub.url).fetch_repo(REPO, revision=served)) == FILES


@pytest.mark.parametrize("kind", ["dataset", "space", "kernel"])
def test_datasets_and_spaces_have_directories_of_their_own(cache, hub, root, kind):
    """As in the Hub's own addresses."""
    hub.add_repo(REPO, {"data/train.csv": b"a,b\n"}, repo_type=kind)
    assert cache.fetch_repo(REPO, repo_type=kind) == root / f"{kind}s" / "owner" / "name"


def test_a_repo_without_files_is_an_empty_selection(cache, hub):
    """A pattern that fits nothing is an error that names it; so is one of a repo without files."""
    hub.add_repo(REPO, {"a.json": b"{}"})
    with pytest.raises(SettingError, match=r"'\*\.onnx' matches none"):
        cache.fetch_repo(REPO, include=["*.json", "*.onnx"])


@pytest.mark.parametrize("workers", [0, -1, 65, True, 2.5, "8"])
def test_a_number_of_workers_that_is_none_is_refused(cache, served, workers):
    """From 1 to 64."""
    with pytest.raises(SettingError, match="workers: expected a whole number from 1 to 64"):
        cache.fetch_repo(REPO, workers=workers)


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_any_number_of_workers_brings_the_same(cache, hub, served, workers):
    """Each file comes with one body, whoever fetches it."""
    assert contents(cache.fetch_repo(REPO, workers=workers)) == FILES
    assert hub.body_gets() == len(FILES)


def test_a_name_that_stands_for_no_path_stops_the_repo_unless_it_is_left_out(cache, hub):
    """Nothing is fetched of a repo with such a name, and the hint says how to do without it."""
    hub.add_repo(REPO, {"aux.py": b"1", "config.json": b"{}"})
    with pytest.raises(InvalidNameError, match="device name") as caught:
        cache.fetch_repo(REPO)
    assert "--exclude" in caught.value.hint
    assert hub.body_gets() == 0
    assert contents(cache.fetch_repo(REPO, exclude="aux.py")) == {"config.json": b"{}"}


def test_the_room_of_all_is_made_before_the_first_byte(hub, root, served):
    """A repo that can never fit is refused before anything is fetched or evicted, with what it takes as a whole."""
    hub.add_repo("owner/old", {"kept.bin": pattern(MIB)})
    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=4 * MIB, min_idle=0)
    cache.fetch("owner/old", "kept.bin")
    with pytest.raises(FileTooLargeError, match=r"owner/name takes 5\.\d+ MB on disk, more than the whole max_size"):
        cache.fetch_repo(REPO)
    assert hub.body_gets() == 1
    assert cache.is_cached("owner/old", "kept.bin")


def test_a_budget_that_just_fits_is_never_exceeded(hub, root, served):
    """Least recently used files go for the whole repo at once, and usage is under the ceiling at every step (I4)."""
    hub.add_repo("owner/old", {f"{number}.bin": pattern(MIB, number) for number in range(5)})
    limit = 6 * MIB
    seen = []

    def watch(step):
        seen.append((step, sum(f.stat().st_blocks * 512 for f in root.rglob("*") if is_counted(root, f))))

    cache = ModelCache(root, endpoint=hub.url, token=False, max_size=limit, min_idle=0, step=watch)
    cache.fetch_repo("owner/old", workers=1)
    assert contents(cache.fetch_repo(REPO, workers=1)) == FILES
    assert max(size for _, size in seen) <= limit
    assert cache.usage().all <= limit
    assert {step for step, _ in seen} >= {"row:reserve", "row:installing", "row:ready", "evict:rename"}


def is_counted(root, path):
    """Whether a file counts against the budget (one with two names is looked at under its own)."""
    own = root / ".model-cache"
    if own in path.parents:
        return path.parent.name in ("trash",) or (path.parent.name == "partial" and path.stat().st_nlink == 1)
    return path.is_file() and path.name != "CACHEDIR.TAG"


def test_files_are_held_until_all_of_them_are_there(hub, root, served):
    """What was there, and what came first, is not evicted while the rest of the repo comes (I3)."""
    later = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, min_idle=0, clock=later)
    cache.fetch(REPO, "config.json")
    other, spared = ModelCache(root, min_idle=0, clock=later), []

    def press(step):
        if step == "verify:hash":
            spared.append({one.row.filename: one.reason for one in other.gc(max_size=0).spared})

    slow = ModelCache(root, endpoint=hub.url, token=False, min_idle=0, clock=later, step=press)
    assert contents(slow.fetch_repo(REPO, workers=1)) == FILES
    assert all(found["config.json"] in ("leased", "open") for found in spared)
    assert hub.body_gets("config.json") == 1


def test_a_failure_keeps_what_is_complete_and_what_has_arrived(cache, hub, served):
    """One file that cannot be had is the error; the next call fetches it alone."""
    hub.fault("onnx/model.onnx", "cut", times=None, at=0.5)
    with pytest.raises(DownloadError, match=r"onnx/model\.onnx"):
        cache.fetch_repo(REPO)
    hub.clear_faults()
    sent = hub.body_bytes()
    assert contents(cache.fetch_repo(REPO)) == FILES
    assert hub.body_bytes() - sent <= sum(map(len, FILES.values()))
    assert os.listdir(cache.root / ".model-cache" / "partial") == []
    assert {row.state for row in cache.entries()} == {"ready"}


def test_a_file_of_wrong_bytes_publishes_nothing_of_itself(cache, hub, served):
    """Flipped bits are found in a repo as in a single file (I1)."""
    hub.fault("tokenizer.json", "flip", times=None)
    with pytest.raises(Exception, match=r"tokenizer\.json: expected git-sha1"):
        cache.fetch_repo(REPO)
    assert not cache.is_cached(REPO, "tokenizer.json")


@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_want_one_repo_share_the_work(hub, root, spawn, served, count):
    """Every file comes once, whoever fetches it, and all get the directory (I2)."""
    processes = [spawn(FETCH) for _ in range(count)]
    assert {finish(process) for process in processes} == {str(root / "owner" / "name")}
    assert {name: hub.body_gets(name) for name in FILES if "/" in name} == {"onnx/model.onnx": 1, "onnx/config.json": 1}
    assert hub.body_gets() == len(FILES)
    assert contents(root / "owner" / "name") == FILES


def test_a_killed_process_is_succeeded_by_one_that_waited(hub, root, spawn, served):
    """A SIGKILL in the middle costs what was under way, not what was complete or had arrived (I2, I10)."""
    with hub.hold(FILE, after=0.5) as hold:
        first = spawn(FETCH)
        hold.wait_for(1)
        until(lambda: all((root / REPO / name).exists() for name in FILES if name != FILE), "all but one were there")
        wait_for_partial(root, len(FILES[FILE]) // 2 - MIB // 2)
        second = spawn(FETCH)
        first.send_signal(signal.SIGKILL)
        first.wait()
        hold.release()
        assert finish(second) == str(root / "owner" / "name")
    assert contents(root / "owner" / "name") == FILES
    assert hub.body_bytes() <= 1.1 * sum(map(len, FILES.values())) + MIB
    cache = ModelCache(root)
    cache.gc()  # a file that had its name when its process was killed is a hit, and its row is settled by the next gc
    assert {row.state for row in cache.entries()} == {"ready"}
    assert cache.usage().all == sum(row.charged for row in cache.entries())


def test_few_descriptors_are_enough(hub, root, spawn):
    """A repo of more files than descriptors is fetched in portions, whose room is passed on from one to the next."""
    files = {f"{number:03}.json": pattern(300 + number) for number in range(300)}
    hub.add_repo(REPO, files)
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
        steps = []
        cache = ModelCache(
            arguments["root"], endpoint=arguments["endpoint"], token=False, max_size={300 * 4096}, step=steps.append
        )
        cache.fetch_repo("{REPO}")
        print(steps.count("row:carry") > 0, cache.usage().reserved)
    """
    assert finish(spawn(code)) == "True 0"
    assert contents(root / "owner" / "name") == files
    assert hub.body_gets() == 300


def test_an_index_that_cannot_be_written_keeps_no_repo_away(hub, root, served):
    """I8: without a budget it is downloaded with a warning, and adopted later."""
    cache = ModelCache(root, endpoint=hub.url, token=False)
    prepare(cache._ctx)
    (root / ".model-cache" / "index.db").mkdir()
    assert contents(cache.fetch_repo(REPO)) == FILES


def test_force_moves_to_the_current_commit(cache, hub, served):
    """`force` asks anew and downloads all."""
    cache.fetch_repo(REPO)
    moved = {name: data + b"moved" for name, data in FILES.items()}
    hub.add_repo(REPO, moved)
    assert contents(cache.fetch_repo(REPO, force=True)) == moved


def test_a_repo_that_does_not_exist_leaves_nothing(cache, hub):
    """The Hub's word is the error."""
    hub.add_repo(REPO, {"a": b"1"})
    with pytest.raises(NotFoundError):
        cache.fetch_repo(REPO, revision="nowhere")
    assert listings.keys(cache._ctx) == []


def test_a_removed_repo_is_forgotten_as_a_whole(cache, hub, served):
    """After `rm` of all of it the next fetch asks what is current."""
    cache.fetch_repo(REPO)
    moved = {"new.json": b"{}"}
    hub.add_repo(REPO, moved)
    cache.remove(REPO)
    assert listings.keys(cache._ctx) == []
    assert contents(cache.fetch_repo(REPO)) == moved


def test_a_listing_of_nothing_goes_after_a_day(hub, root, served):
    """`gc` removes it once no row is left of its repo."""
    later = Later()
    cache = ModelCache(root, endpoint=hub.url, token=False, clock=later)
    cache.fetch_repo(REPO)
    later.ahead = 3600
    assert cache.gc(max_size=0).evicted and listings.keys(cache._ctx)
    later.ahead = 3 * 86400
    cache.gc()
    assert listings.keys(cache._ctx) == []


# Updates


NEWER = {**FILES, "config.json": b'{"a": 2}', "added.json": b"[]"} | {FILE: pattern(3 * MIB, 9)}
del NEWER["onnx/config.json"]


def test_an_update_moves_the_whole_repo_and_says_what_changed(cache, hub, served):
    """Changed files are replaced, new ones come, what is gone stays and is named; afterwards it is whole, offline too."""
    cache.fetch_repo(REPO)
    commit = hub.add_repo(REPO, NEWER)
    (report,) = cache.update(REPO)
    names = {field: sorted(row.filename for row in getattr(report, field)) for field in ("updated", "added", "gone")}
    assert names == {"updated": ["config.json", FILE], "added": ["added.json"], "gone": ["onnx/config.json"]}
    assert contents(cache.fetch_repo(REPO, offline=True)) == NEWER | {"onnx/config.json": b"{}"}
    assert listings.read(cache._ctx, Snapshot(REPO)).commit == commit
    assert report.commit == commit


def test_an_update_of_a_part_brings_no_new_files(cache, hub, served):
    """Nobody who has a part of a repo wants all of it."""
    cache.fetch_repo(REPO, include="config.json")
    hub.add_repo(REPO, NEWER)
    (report,) = cache.update(REPO)
    assert report.added == [] and contents(cache.root / "owner" / "name") == {"config.json": NEWER["config.json"]}


def test_one_file_in_use_and_the_repo_stays_where_it_was(cache, hub, served):
    """Nothing is replaced, nothing is new, and the repo is whole at its old commit."""
    cache.fetch_repo(REPO)
    hub.add_repo(REPO, NEWER)
    with cache.lease(REPO, FILE):
        (report,) = cache.update(REPO)
    assert [row.filename for row in report.in_use] == [FILE]
    assert contents(cache.fetch_repo(REPO, offline=True)) == FILES
    assert listings.read(cache._ctx, Snapshot(REPO)).commit == served


def test_an_update_that_died_between_two_files_is_gone_on_with(cache, hub, served, spawn):
    """A directory of two commits is handed out to nobody; with the network the update goes on (I10)."""
    cache.fetch_repo(REPO)
    hub.add_repo(REPO, NEWER)
    code = f"""
        import os, signal
        seen = []
        def die(step):
            seen.append(step)
            if seen.count("replace:rename") == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        ModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False, step=die).update("{REPO}")
    """
    assert spawn(code).wait(120) == -signal.SIGKILL
    other = ModelCache(cache.root, endpoint=hub.url, token=False)
    with pytest.raises(OfflineMissError, match="an update of it was interrupted"):
        other.fetch_repo(REPO, offline=True)
    assert contents(other.fetch_repo(REPO)) == NEWER | {"onnx/config.json": b"{}"}
    assert other.fetch_repo(REPO, offline=True)


def test_an_update_that_cannot_go_on_is_told(cache, hub, served):
    """While a file is in use, a repo between two commits is refused and says which."""
    cache.fetch_repo(REPO)
    hub.add_repo(REPO, NEWER)
    snapshot = Snapshot(REPO)
    listing = listings.read(cache._ctx, snapshot)
    listings.write(cache._ctx, snapshot, listings.Listing(listing.commit, listing.files, moving=True))
    other = ModelCache(cache.root, endpoint=hub.url, token=False)
    with cache.lease(REPO, FILE), pytest.raises(InUseError, match=r"cannot go on while model\.bin is in use"):
        other.fetch_repo(REPO)
    assert contents(other.fetch_repo(REPO)) == NEWER | {"onnx/config.json": b"{}"}


# Several files of any repos, with what they have to be


def test_files_of_several_repos_are_fetched_together(cache, hub):
    """`fetch_many` takes entries of any repo, with the promise it is given, and hands out in the order asked."""
    commits = {name: hub.add_repo(name, {FILE: pattern(MIB, seed)}) for seed, name in enumerate(["a/one", "b/two"])}
    metas = {name: cache._ctx.hub.metadata("model", name, "main", FILE) for name in commits}
    wanted = [Wanted(Entry(name, FILE), metas[name]) for name in ("b/two", "a/one")]
    outcomes = fetch_many(cache._ctx, wanted, Request(), workers=2)
    assert [outcome.found.text for outcome in outcomes] == [str(cache.path(name, FILE)) for name in ("b/two", "a/one")]
    assert [outcome.source for outcome in outcomes] == ["download", "download"]


def test_a_promise_that_the_hub_does_not_keep_is_an_error(cache, hub):
    """What was promised decides, not what the Hub has by now."""
    commit = hub.add_repo(REPO, {FILE: pattern(MIB)})
    meta = FileMeta(commit, "f" * 64, MIB, "f" * 64, None)
    with pytest.raises(Exception, match="expected sha256 ffff"):
        fetch_many(cache._ctx, [Wanted(Entry(REPO, FILE), meta)], Request(), workers=1)
    assert os.listdir(cache.root / ".model-cache" / "partial") == []


def test_bytes_of_a_failed_fsync_go_though_those_of_another_file_cannot(hub, root, caplog):
    """I1: where the fsync of two files failed, and the partial of the first cannot be removed, that of the second goes."""
    hub.add_repo(REPO, {"a.bin": pattern(MIB, 1), "b.bin": pattern(MIB, 2)})
    both, removals = threading.Barrier(2, timeout=120), []

    def fail(step):
        if step == "publish:fsync-file":
            both.wait()
            raise StorageError("cannot make durable", path="partial")
        if step == "stop:unlink-partial":
            removals.append(step)
            if len(removals) == 1:
                raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StorageError, match="cannot make durable"):
        ModelCache(root, endpoint=hub.url, token=False, connections=2, step=fail).fetch_repo(REPO, workers=2)
    assert len(os.listdir(root / ".model-cache" / "partial")) == 1
    assert "Input/output error" in caplog.text
    cache = ModelCache(root, endpoint=hub.url, token=False)
    assert contents(cache.fetch_repo(REPO)) == {"a.bin": pattern(MIB, 1), "b.bin": pattern(MIB, 2)}
    assert cache.usage().all == sum(row.charged for row in cache.entries())


def test_two_files_of_the_same_bytes_are_fetched_once(cache, hub):
    """The second is a further name of the first."""
    hub.add_repo(REPO, {"a.bin": pattern(MIB), "b.bin": pattern(MIB)})
    directory = cache.fetch_repo(REPO)
    assert hub.body_gets() == 1
    assert (directory / "a.bin").samefile(directory / "b.bin")


def test_a_hub_that_serves_small_files_itself_is_as_good(root):
    """Without a redirect there is no shortcut to be learnt, and none is needed."""
    with LoopbackHub(resolve_cache=False) as hub:
        hub.add_repo(REPO, FILES)
        assert contents(ModelCache(root, endpoint=hub.url, token=False).fetch_repo(REPO)) == FILES


def test_a_shortcut_that_leads_nowhere_is_taken_back(cache, hub):
    """Where the address that was guessed is refused, the file is asked for as every other."""
    files = {f"{number}.json": pattern(100 + number) for number in range(12)}
    hub.add_repo(REPO, files)
    hub.fault("/api/resolve-cache/*", "status", skip=2, times=1, status=404, on="any")
    assert contents(cache.fetch_repo(REPO, workers=1)) == files
