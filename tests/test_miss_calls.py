"""What a miss asks of the disk, by its system calls."""

import re
import shutil

import pytest
from support import FILE, REPO, finish

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
BEGIN, END = "/begin-of-the-miss", "/end-of-the-miss"


def test_a_cold_fetch_is_three_transactions_of_five_fsyncs(root, hub, spawn, tmp_path):
    """Besides those of the index there is one of the file and one of its directory, as the decision on the journal says."""
    hub.add_repo(REPO, {"first": b"makes the index", FILE: bytes(2_000_000)})
    out = tmp_path / "calls"
    marks = (f'os.path.exists("{mark}")' for mark in (BEGIN, END))
    code = f'cache.fetch("{REPO}", "first")\n{next(marks)}\ncache.fetch("{REPO}", "{FILE}")\n{next(marks)}'
    finish(spawn(code, tracer=f"strace -f -qq -y -o {out}"))
    between = out.read_text().partition(BEGIN)[2].partition(END)[0]
    synced = [place.removeprefix(str(root)) for place in re.findall(r"sync\(\d+<(.*?)>", between)]
    files = [place for place in synced if "/partial/" in place or place == f"/{REPO}"]
    transaction = ["/index.db-journal", "", "/index.db-journal", "/index.db", "/index.db-journal"]
    assert [place for place in synced if place not in files] == [f"/.model-cache{name}" for name in 3 * transaction]
    assert (len(files), files[-1]) == (2, f"/{REPO}")
