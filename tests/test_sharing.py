"""What several users of one machine may do with one root: by real users, in processes of their own."""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sharing_equipment import (
    BODY,
    FIRST,
    GROUP,
    MOVES,
    OPERATIONS,
    SECOND,
    STRANGER,
    Place,
    Somebody,
    fill,
    foreign,
    move,
)
from support import REPO

from model_cache.testing import LoopbackHub

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "sharing.md"
# Column of the table: (what `sharing` is, the group that the root belongs to, who acts).
COLUMNS = {
    "private: owner": ("private", FIRST, FIRST),
    "private: others": ("private", FIRST, SECOND),
    "group: owner": ("group", GROUP, FIRST),
    "group: member": ("group", GROUP, SECOND),
    "group: others": ("group", GROUP, STRANGER),
    "group: root": ("group", GROUP, 0),
    "service: the service": ("group", FIRST, FIRST),
    "service: others": ("group", FIRST, SECOND),
}

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a disk is waited for at each of some thousand fsyncs

pytestmark = pytest.mark.root


def table():
    """{column: {operation: what comes of it}}, as the page has it."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    start = next(number for number, line in enumerate(lines) if "private: owner" in line)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]]
    rows = [row for row in cells[2:] if len(row) == len(cells[0])]
    return {name: {row[0]: row[number] for row in rows} for number, name in enumerate(cells[0]) if number}


@pytest.fixture(scope="module")
def served():
    """A hub with what is asked for."""
    if os.geteuid() != 0:
        pytest.skip("becomes other users")
    with LoopbackHub() as hub:
        fill(hub)
        yield hub


@pytest.fixture(scope="module")
def people(served, tmp_path_factory):
    """A process of each user, by uid."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home")), "PYTHONWARNINGS": "error"}
    groups = {FIRST: [GROUP], SECOND: [GROUP], STRANGER: [], 0: []}
    started = {uid: Somebody(environ, uid, more) for uid, more in groups.items()}
    yield started
    said = [one.end() for one in started.values()]
    assert not any("Traceback" in text for text in said), said


@pytest.fixture
def somewhere(served):
    """Make a root for one operation, beside a directory for everybody; pytest's own cannot be reached by every user."""
    made = []

    def make(sharing, group):
        top = Path(tempfile.mkdtemp(prefix="model-cache-sharing-", dir=MEMORY))
        made.append(top)
        top.chmod(0o755)
        root, beside = top / "cache", top / "beside"
        beside.mkdir()
        beside.chmod(0o777)
        foreign(served, beside)
        root.mkdir()
        os.chown(root, FIRST, group)
        root.chmod(0o700 if sharing == "private" else 0o2775)
        return Place(str(root), served.url, sharing, str(beside))

    yield make
    for top in made:
        shutil.rmtree(top)


def test_the_page_has_every_operation_and_every_column():
    """What the test does is what the page's table says."""
    found = table()
    assert list(found) == list(COLUMNS)
    assert all(list(column) == list(OPERATIONS) for column in found.values())


@pytest.mark.parametrize("column", COLUMNS)
def test_what_each_user_may_do_is_what_the_page_says(column, served, people, somewhere):
    """Each operation in each mode, by each kind of user, comes to what its cell in the table says."""
    sharing, group, uid = COLUMNS[column]
    came = {}
    for name, operation in OPERATIONS.items():
        place = somewhere(sharing, group)
        people[FIRST].do(name, "prepare", place)
        if name in MOVES:
            move(served, BODY[::-1])
        came[name] = people[uid].do(name, "act", place)
        if operation.after is not None and came[name] == "yes":
            came[name] = people[FIRST].do(name, "after", place)
        move(served, BODY)
    assert came == table()[column]


# Beside the table


def of_group(somewhere):
    """A root of the group."""
    return somewhere("group", GROUP)


def modes(place):
    """{path below the root: permission bits} of everything in it."""
    root = Path(place.root)
    return {str(path.relative_to(root)): path.lstat().st_mode & 0o7777 for path in root.rglob("*")}


def test_everything_in_a_groups_root_has_its_mode_and_its_group_whatever_the_umask(people, somewhere):
    """Downloads, locks, notes, the index and its journal, its backup, marks and quarantine: 02775 and 0664, of the group."""
    place = of_group(somewhere)
    for uid, name in ((FIRST, "`verify --repair`"), (SECOND, "`fetch` of a whole repo")):
        people[FIRST].do(name, "prepare", place)
        assert people[uid].do(name, "act", place) == "yes"
    assert people[SECOND].do("`sync`", "prepare", place) is None
    assert people[SECOND].do("a collection", "act", place) == "yes"
    wrong = {
        path: oct(mode)
        for path, mode in modes(place).items()
        if mode != (0o2775 if Path(place.root, path).is_dir() else 0o664)
    }
    assert wrong == {}
    assert {path.lstat().st_gid for path in Path(place.root).rglob("*")} == {GROUP}
    assert {"index.db-journal", "backup/index.db", "index.lock", "gc.lock"} <= {
        path.removeprefix(".model-cache/") for path in modes(place)
    }


def test_users_who_come_first_at_the_same_moment_do_not_shut_each_other_out(people, somewhere):
    """Two users whose umasks close everything begin a root, and the same downloads, together; both have every file."""
    place = of_group(somewhere)
    with ThreadPoolExecutor(3) as pool:
        came = [pool.submit(people[uid].do, "a rush", "act", place) for uid in (FIRST, SECOND, 0)]
        assert [one.result() for one in came] == ["yes"] * 3


def test_a_directory_that_is_being_made_is_looked_at_again(people, somewhere):
    """Between its making and its mode a directory is closed to the others, as their umask says: a hit waits for that."""
    assert people[SECOND].do("a directory in the making", "act", of_group(somewhere)) == "yes"


@pytest.mark.parametrize("left", ["root", "own", "locks", "repo", "journal"])
def test_what_a_maker_left_before_it_had_its_mode_is_made_anew(people, somewhere, left):
    """A directory that is empty, or an empty journal, and closed to the group because its maker died, stops no member."""
    place = of_group(somewhere)
    if left != "root":
        people[FIRST].do("a hit", "prepare", place)
    path = Path(place.root, {"own": ".model-cache", "locks": ".model-cache/locks", "repo": REPO}.get(left, ""))
    if left == "journal":
        path = Path(place.root, ".model-cache", "index.db-journal")
        path.write_bytes(b"")
    elif left == "root":
        Path(place.root).rmdir()
        Path(place.root).mkdir()
        os.chown(Path(place.root).parent, 0, GROUP)
        Path(place.root).parent.chmod(0o2775)
        os.chown(place.root, FIRST, GROUP)
    else:
        shutil.rmtree(path)
        path.mkdir()
        os.chown(path, FIRST, GROUP)
    path.chmod(0o600 if left == "journal" else 0o2755)
    assert people[SECOND].do("`fetch` of what is missing", "act", place) == "yes"
    assert path.stat().st_mode & 0o7777 == (0o664 if left == "journal" else 0o2775)


def test_a_directory_that_somebody_closed_and_filled_is_left_alone(people, somewhere):
    """What a user placed in a directory of their own stays, and the download into it is an error."""
    place = of_group(somewhere)
    people[FIRST].do("a hit", "prepare", place)
    directory = Path(place.root, "owner", "twin")
    directory.mkdir()
    (directory / "mine").write_bytes(b"mine")
    for path in (directory, directory / "mine"):
        os.chown(path, FIRST, FIRST)
    directory.chmod(0o755)
    assert people[SECOND].do("`fetch` links to another's file", "act", place) == "no"
    assert (directory / "mine").read_bytes() == b"mine"
    assert directory.stat().st_mode & 0o7777 == 0o755


def test_a_download_without_room_says_whose_files_are_in_the_way(people, somewhere):
    """What may not be tested is no room: the error names its owner, and gc by them as what helps."""
    place = of_group(somewhere)
    people[FIRST].do("no room", "prepare", place)
    said = people[SECOND].do("no room", "act", place)
    assert f"of user {FIRST}, whose files only they or root can test for being open (1 file)" in said
    assert said.endswith(f"gc, run by user {FIRST} or root")
    assert people[FIRST].do("no room", "act", place) == "yes"
