"""What several users of one machine may do with one root: by real users, in processes of their own."""

import os
import shutil
import tempfile
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
def people(served, tmp_path_factory):  # noqa: ARG001 - only where users can be become
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
        top = Path(tempfile.mkdtemp(prefix="model-cache-sharing-"))
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
