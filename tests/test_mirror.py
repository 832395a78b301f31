"""The mirror that docs/how-to/mirror.md describes, run by the real nginx: many hosts, one body from the Hub."""

import http.client
import re
import subprocess
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
from job_equipment import until
from mirror_equipment import DEPLOYED, NGINX, Mirror, deployed
from real_client import real_client
from support import FILE, REPO, finish, pattern

from model_cache import AccessError, ModelCache, NotFoundError
from model_cache.testing import LoopbackHub

SLICE = 1 << 20
BIG = pattern(9 * SLICE + 12345)

# A host: it says that it is ready, waits for the others, and fetches.
FETCH = """
print("ready", flush=True)
input()
print(cache.fetch("owner/name", "model.bin"))
"""


@pytest.fixture
def mirror(tmp_path, hub):
    """A mirror in front of the hub, whose files are kept in pieces of 1 MiB."""
    with Mirror(tmp_path / "mirror", hub.url, hub.cdn_url, MIRROR_SLICE="1m", MIRROR_FRESH="1s") as mirror:
        yield mirror


def ask(url, target, method="GET", **headers):
    """One request as it is: status, headers by name, body."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)) as connection:
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def host(tmp_path, name, mirror, **settings):
    """A cache as another host has it."""
    return ModelCache(tmp_path / name, endpoint=mirror.url, **{"token": False, **settings})


def test_four_hosts_cost_the_hub_one_body(tmp_path, hub, mirror, spawn):
    """Four roots that want a large file at once have it, and the Hub has sent each of its bytes once."""
    hub.add_repo(REPO, {FILE: BIG, "config.json": b"{}"})
    hosts = [spawn(FETCH, root=str(tmp_path / f"host-{number}"), endpoint=mirror.url) for number in range(4)]
    for process in hosts:
        assert process.stdout.readline() == "ready\n"
    for process in hosts:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in hosts:
        with open(finish(process), "rb") as file:
            assert file.read() == BIG
    assert hub.body_bytes(FILE) == len(BIG)
    assert hub.body_gets(FILE) == 10  # one per piece


def test_whole_repos_and_small_files_come_through_once(tmp_path, mirror_of_pages):
    """Listings of several pages, small and large files: a second host takes all of it from the mirror."""
    hub, mirror, files = mirror_of_pages
    for name in ("one", "two"):
        found = host(tmp_path, name, mirror).fetch_repo(REPO)
        assert {path: (found / path).read_bytes() for path in files} == files
    assert hub.body_bytes() == sum(map(len, files.values()))


def test_the_hubs_own_client_goes_through_it(tmp_path, mirror_of_pages):
    """`huggingface_hub` with `HF_ENDPOINT` at the mirror has the same files as before it, and costs the Hub as little."""
    hub, mirror, files = mirror_of_pages
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        calls = {
            "all": {"call": "snapshot", "repo_id": REPO},
            "large": {"call": "file", "repo_id": REPO, "filename": FILE},
            "none": {"call": "file", "repo_id": REPO, "filename": "none"},
        }
        found = real_client(tmp_path / name, mirror.url, calls)
        assert found == {"all": sorted(files), "large": BIG.hex(), "none": "RemoteEntryNotFoundError"}
    assert hub.body_bytes() == sum(map(len, files.values()))


@pytest.fixture
def mirror_of_pages(tmp_path):
    """A hub whose listings have pages of seven files, a mirror of it, and what it has."""
    files = {f"d{number % 3}/f{number}.json": b"%d" % number for number in range(20)} | {FILE: BIG}
    with ExitStack() as stack:
        hub = stack.enter_context(LoopbackHub(page_size=7))
        hub.add_repo(REPO, files)
        mirror = stack.enter_context(Mirror(tmp_path / "mirror", hub.url, hub.cdn_url))
        yield hub, mirror, files


def test_a_killed_host_goes_on_where_it_was(tmp_path, hub, mirror, spawn):
    """A download that is killed half-way is resumed through the mirror; the Hub sends no byte of it twice."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "slow", skip=3, rate=SLICE)  # the fourth piece takes a second
    process = spawn(FETCH, endpoint=mirror.url)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    partial = tmp_path / "cache" / ".model-cache" / "partial"
    until(lambda: any(file.stat().st_size for file in partial.glob("*")), "bytes came")
    process.kill()
    process.communicate()
    cache = host(tmp_path, "cache", mirror)
    assert cache.fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_bytes(FILE) == len(BIG)


def test_parts_of_a_file_are_its_parts(hub, mirror):
    """A range over the edges of pieces is answered with those bytes, and with the storage's ETag asked for once more."""
    hub.add_repo(REPO, {FILE: BIG})
    location = ask(mirror.url, f"/{REPO}/resolve/main/{FILE}", "HEAD")[1]["Location"]
    assert location.startswith(mirror.bytes_url)
    target = location.removeprefix(mirror.bytes_url)
    first, last = SLICE - 3, 3 * SLICE + 5
    status, headers, body = ask(mirror.bytes_url, target, Range=f"bytes={first}-{last}")
    assert (status, body) == (206, BIG[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/{len(BIG)}"
    again = ask(mirror.bytes_url, target, Range=f"bytes={first}-{last}", If_Range=headers["ETag"])
    assert (again[0], again[2]) == (206, body)
    other = ask(mirror.bytes_url, target, Range=f"bytes={first}-{last}", If_Range='"other"')
    assert (other[0], other[2]) == (200, BIG)
    assert hub.body_bytes(FILE) == len(BIG)


def test_what_is_missing_is_missing_in_the_hubs_words(tmp_path, hub, mirror):
    """A file, a revision and a repo that are not there are refused through the mirror as without it."""
    hub.add_repo(REPO, {FILE: b"1"})
    for names, error, code in (
        ((REPO, "none"), NotFoundError, "EntryNotFound"),
        ((REPO, FILE, "none"), NotFoundError, "RevisionNotFound"),
        (("owner/none", FILE), AccessError, None),
    ):
        revision = names[2] if len(names) > 2 else "main"
        with pytest.raises(error) as through:
            host(tmp_path, "one", mirror).fetch(*names[:2], revision=revision)
        with pytest.raises(error) as direct:
            ModelCache(tmp_path / "two", endpoint=hub.url, token=False).fetch(*names[:2], revision=revision)
        said = [re.sub(r"Root=[^)]*|127\.0\.0\.1:\d+", "", str(caught.value)) for caught in (through, direct)]
        assert said[0] == said[1]
        assert ask(mirror.url, f"/{names[0]}/resolve/{revision}/{names[1]}", "HEAD")[1]["X-Error-Code"] == code


def test_what_only_some_may_read_is_not_kept(tmp_path):
    """A gated or private file is had with a token that opens it, by nobody else afterwards, and is not in the mirror."""
    with LoopbackHub(token="right", guest_tokens=["guest"]) as hub:
        hub.add_repo("org/gated", {FILE: BIG, "small.json": b"secret of the gated"}, gated=True)
        hub.add_repo("org/private", {FILE: BIG, "small.json": b"secret of the private"}, private=True)
        with Mirror(tmp_path / "mirror", hub.url, hub.cdn_url) as mirror:
            for number, repo in enumerate(("org/gated", "org/private")):
                found = host(tmp_path, f"friend-{number}", mirror, token="right").fetch_repo(repo)
                assert (found / FILE).read_bytes() == BIG
                for stranger in ({"token": False}, {"token": "guest"}):
                    for name in (FILE, "small.json"):
                        with pytest.raises((AccessError, NotFoundError)):
                            host(tmp_path, "stranger", mirror, **stranger).fetch(repo, name)
            kept = [path for top in ("hub", "bytes") for path in (mirror.home / top).rglob("*") if path.is_file()]
            assert all(b"secret" not in path.read_bytes() and path.stat().st_size < SLICE for path in kept)
        assert hub.leaks == []


def test_public_files_are_asked_for_as_nobody(tmp_path, hub, mirror):
    """Who sends a token has public files from the same cache as everybody, and the Hub does not see the token."""
    hub.add_repo(REPO, {FILE: BIG, "small.json": b"{}"})
    for name, token in (("one", "secret-of-one"), ("two", False)):
        cache = host(tmp_path, name, mirror, token=token)
        assert cache.fetch(REPO, FILE).read_bytes() == BIG
        assert cache.fetch(REPO, "small.json").read_bytes() == b"{}"
    assert not any(record.authorization for record in hub.requests)
    assert hub.body_bytes() == len(BIG) + 2


@pytest.mark.parametrize("how", ["closed", "failing"])
def test_while_the_hub_is_down_the_mirror_answers(tmp_path, hub, mirror, how):
    """With the Hub gone, or answering 503, a new host has what another one fetched, from answers that are too old."""
    hub.add_repo(REPO, {FILE: BIG, "small.json": b"{}"})
    first = host(tmp_path, "one", mirror)
    first.fetch(REPO, FILE)
    first.fetch(REPO, "small.json")
    if how == "closed":
        hub.stop()
    else:
        hub.fault("*", "status", times=None, on="any", status=503)
    asked = f"/{REPO}/resolve/main/{FILE}"
    until(lambda: ask(mirror.url, asked, "HEAD")[1]["X-Cache-Status"] == "STALE", "the answer was too old")
    second = host(tmp_path, "two", mirror)
    assert second.fetch(REPO, FILE).read_bytes() == BIG
    assert second.fetch(REPO, "small.json").read_bytes() == b"{}"


def test_wrong_bytes_do_not_stay_in_the_mirror(tmp_path, hub, mirror):
    """The host whose hash finds a damaged body has it replaced; hosts after it have the right bytes, from the mirror."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "flip")
    assert host(tmp_path, "one", mirror).fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_bytes(FILE) == 2 * len(BIG)
    assert host(tmp_path, "two", mirror).fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_bytes(FILE) == 2 * len(BIG)


def test_only_who_got_wrong_bytes_asks_for_new_ones(cache, hub):
    """The attempt after a wrong hash tells every cache on the way not to answer from what it has; no other request does."""
    files = {FILE: BIG[: 2 * SLICE], "small.json": b"{}"}
    hub.add_repo(REPO, files)
    for name in files:
        hub.fault(name, "flip")
        cache.fetch(REPO, name)
    anew = [record.headers.get("cache-control") == "no-cache" for record in hub.requests]
    for name in files:
        asked = [(record.kind, new) for record, new in zip(hub.requests, anew, strict=True) if record.filename == name]
        first = [kind for kind, _ in asked].index("body")
        assert not any(new for _, new in asked[: first + 1])
        assert all(new for _, new in asked[first + 1 :])
        assert asked[-1] == ("body", True)


def test_a_cut_on_the_way_to_the_mirror_is_no_end(tmp_path, hub, mirror):
    """A body that breaks off between Hub and mirror is gone on with, and is not kept as the whole."""
    hub.add_repo(REPO, {FILE: BIG})
    hub.fault(FILE, "cut", skip=2)
    for name in ("one", "two"):
        assert host(tmp_path, name, mirror).fetch(REPO, FILE).read_bytes() == BIG
    assert hub.body_bytes(FILE) < len(BIG) + SLICE


def test_nothing_leads_past_the_mirror(hub, mirror):
    """Links and headers by which a client would fetch the bytes elsewhere do not come through; cookies neither."""
    hub.add_repo(REPO, {FILE: BIG})
    past = {
        "X-Xet-Hash": "0" * 64,
        "X-Xet-Refresh-Route": "/api/xet",
        "Link": f'<{hub.url}/api/xet-read-token>; rel="xet-auth", <{hub.url}/v1/r>; rel="xet-reconstruction-info"',
        "Set-Cookie": "token=x",
    }
    hub.fault("other.bin", "status", on="any", times=None, status=200, headers=past)
    status, headers, _ = ask(mirror.url, f"/{REPO}/resolve/main/other.bin", "HEAD")
    assert status == 200
    assert not {name.lower() for name in headers} & {name.lower() for name in past}


def test_the_second_port_is_no_open_proxy(hub, mirror):
    """Hosts that the Hub does not redirect to are not asked, and nothing but reading is passed on."""
    for target in (f"/{urlsplit(hub.url).netloc}/x", "/example.org/x", "/", "/x"):
        assert ask(mirror.bytes_url, target)[0] == 404
    assert ask(mirror.bytes_url, f"/{urlsplit(hub.cdn_url).netloc}/x", "POST")[0] == 405
    assert ask(mirror.url, "/x", "DELETE")[0] == 405
    assert hub.requests == []


def test_the_file_as_deployed_is_one_that_nginx_takes(tmp_path, hub):
    """With the values of the Compose file nginx accepts it; each value has its place, and its hosts are the Hub's."""
    template = (DEPLOYED / "mirror.conf.template").read_text()
    named = set(re.findall(r"\$\{(\w+)\}", template)) - {"MIRROR_…"}
    assert named == {name for name in deployed() if name.startswith("MIRROR_")}
    page = (DEPLOYED.parent.parent / "docs" / "how-to" / "mirror.md").read_text()
    assert all(f"`{name}`" in page for name in named)
    hosts = re.compile(deployed()["MIRROR_BYTES_HOSTS"])
    assert all(map(hosts.fullmatch, ("cas-bridge.xethub.hf.co", "cdn-lfs-us-1.hf.co", "cdn-lfs.huggingface.co")))
    assert not any(map(hosts.fullmatch, ("hf.co.example.org", "example.org", "127.0.0.1", "nothf.co")))
    as_deployed = {name: value for name, value in deployed().items() if name != "MIRROR_DIR"}
    mirror = Mirror(tmp_path / "mirror", hub.url, hub.cdn_url, **as_deployed)
    tried = subprocess.run(
        [NGINX, "-t", "-e", tmp_path / "log", "-p", mirror.home, "-c", mirror.home / "nginx.conf"], capture_output=True
    )
    mirror.close()
    assert tried.returncode == 0, tried.stderr
