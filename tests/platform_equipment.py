"""The life of a file in real processes, on a system that lacks something."""

import json

from support import FILE, REPO, finish, pattern

OLD, NEW = pattern(300_000), pattern(300_000, 7)
FETCH = f'print(cache.fetch("{REPO}", "{FILE}"), flush=True)'
# Holds a lease until its input ends.
HOLD = f"""
with cache.lease("{REPO}", "{FILE}") as path:
    print(open(path, "rb").read() != b"", flush=True)
    sys.stdin.read()
"""
# What one process does with a file that another has leased, and then with it alone.
ACT = f"""
from model_cache import ModelCacheError

def told(what):
    try:
        return what()
    except ModelCacheError as error:
        return f"{{type(error).__name__}}: {{error}}"

said = {{"hits": len({{cache.fetch("{REPO}", "{FILE}") for _ in range(3)}})}}
report = cache.verify()
said["verified"] = [report.ok, len(report.corrupt), len(report.changed), len(report.missing)]
said["evicted in use"] = told(lambda: len(cache.gc(max_size=0).evicted))
said["removed in use"] = told(lambda: len(cache.remove("{REPO}", "{FILE}").removed))
said["there"] = os.path.exists(cache.path("{REPO}", "{FILE}"))
print(json.dumps(said), flush=True)
sys.stdin.readline()
said = {{"updated": told(lambda: sum(len(one.updated) for one in cache.update("{REPO}")))}}
with open(cache.path("{REPO}", "{FILE}"), "rb") as file:
    bytes_now = file.read()
said["seed"] = {{b: n for n, b in enumerate((bytes.fromhex(arguments["old"]), bytes.fromhex(arguments["new"])))}}[bytes_now[:64]]
said["evicted"] = told(lambda: len(cache.gc(max_size=0).evicted))
said["there"] = os.path.exists(cache.path("{REPO}", "{FILE}"))
print(json.dumps(said))
"""


def live(hub, root, spawn):
    """Four processes fetch, one holds, one acts while it is held and after it; (what it said first, and last)."""
    hub.add_repo(REPO, {FILE: OLD})
    with hub.hold(FILE) as hold:
        fetching = [spawn(FETCH) for _ in range(4)]
        hold.wait_for(1)
        hold.release()
        assert {finish(process) for process in fetching} == {str(root / REPO / FILE)}
    assert (root / REPO / FILE).read_bytes() == OLD
    settings = {"min_idle": 0, "touch_interval": 0}
    holding = spawn(HOLD, settings=settings)
    assert holding.stdout.readline() == "True\n"
    acting = spawn(ACT, settings=settings, old=OLD[:64].hex(), new=NEW[:64].hex())
    first = acting.stdout.readline()
    assert first, acting.communicate()[1]
    finish(holding)
    hub.add_repo(REPO, {FILE: NEW})
    acting.stdin.write("\n")
    return json.loads(first), json.loads(finish(acting))
