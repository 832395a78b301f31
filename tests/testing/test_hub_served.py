"""What the loopback hub answers: the Hub's protocol as its clients meet it."""

import hashlib
import json
from urllib.parse import urlsplit

import pytest
from loopback_equipment import REPO, ask, content, link, refuses, resolve

from model_cache.testing import LoopbackHub

LARGE = content(1_500_000)
SMALL = b'{"a": 1}'
SMALL_OID = hashlib.sha1(b"blob 8\0" + SMALL).hexdigest()


@pytest.fixture
def served(hub):
    """A hub with one repo: a large and a small file, some in folders."""
    hub.add_repo(REPO, {"model.bin": LARGE, "config.json": SMALL, "a b/ü#%.txt": b"odd", "empty": b""})
    return hub


def follow(hub, filename, method="GET", **headers):
    """A small file by way of its redirect."""
    return ask(hub.url + ask(resolve(hub, filename), "HEAD").headers["location"], method, **headers)


def test_a_large_file_is_redirected_to_a_signed_link_on_the_second_port(served):
    """HEAD answers 302 with the commit, the sha256 and the size of the file, and a link to the second port."""
    reply = ask(resolve(served, "model.bin"), "HEAD")
    assert reply.status == 302
    assert reply.headers["x-linked-etag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"'
    assert reply.headers["x-linked-size"] == str(len(LARGE))
    assert len(reply.headers["x-repo-commit"]) == 40
    assert int(reply.headers["content-length"]) < 2000
    assert reply.headers["location"].startswith(served.cdn_url)
    assert "X-Amz-Signature=" in reply.headers["location"]
    assert ask(reply.headers["location"]).body == LARGE


def test_a_small_file_is_redirected_on_the_same_host(served):
    """A small file answers 307 to a relative `/api/resolve-cache/` URL whose query matters."""
    reply = ask(resolve(served, "config.json"))
    commit = reply.headers["x-repo-commit"]
    assert reply.status == 307
    assert reply.headers["location"].startswith(f"/api/resolve-cache/models/{REPO}/{commit}/config.json?")
    found = ask(served.url + reply.headers["location"])
    assert (found.status, found.body, found.headers["etag"]) == (200, SMALL, f'"{SMALL_OID}"')
    assert found.headers["x-repo-commit"] == commit
    assert ask(served.url + reply.headers["location"].partition("?")[0]).status == 404


def test_a_small_file_can_be_served_without_a_redirect():
    """With `resolve_cache=False` the bytes come from the resolve URL itself, with the etag git gives them."""
    with LoopbackHub(resolve_cache=False) as hub:
        hub.add_repo(REPO, {"config.json": SMALL})
        reply = ask(resolve(hub, "config.json"))
        assert (reply.status, reply.body) == (200, SMALL)
        assert reply.headers["etag"] == f'"{SMALL_OID}"'
        assert "x-repo-commit" in reply.headers


def test_head_sends_the_headers_of_get_and_no_body(served):
    """HEAD of a file announces its length and sends nothing of it."""
    reply = ask(link(served, "model.bin"), "HEAD")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, str(len(LARGE)), b"")
    assert served.body_gets() == 0


def test_names_are_percent_decoded(served):
    """A name with blanks, other letters, `#` and `%` is found under its percent-encoding."""
    assert follow(served, "a%20b/%C3%BC%23%25.txt").body == b"odd"


def test_an_empty_file_is_a_file(served):
    """A file of no bytes is answered with 200 and no bytes."""
    reply = follow(served, "empty")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "0", b"")


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=1000000-", 1_000_000, len(LARGE)), ("bytes=-5", len(LARGE) - 5, len(LARGE))],
)
def test_a_range_is_answered_with_exactly_its_bytes(served, wanted, start, stop):
    """A range gets 206, its bytes, and a `Content-Range` that says which they are."""
    reply = ask(link(served, "model.bin"), Range=wanted)
    assert (reply.status, reply.body) == (206, LARGE[start:stop])
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"


def test_a_range_beyond_the_end_is_not_satisfiable(served):
    """A range that begins at the end of the file gets 416 with the file's length."""
    reply = ask(link(served, "model.bin"), Range=f"bytes={len(LARGE)}-")
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(LARGE)}")


def test_if_range_decides_between_the_range_and_the_whole_file(served):
    """The body's own etag gets 206, any other the whole file; as in the Hub's storage it is not the sha256."""
    url = link(served, "model.bin")
    etag = ask(url, "HEAD").headers["etag"]
    assert etag != f'"{hashlib.sha256(LARGE).hexdigest()}"'
    assert ask(url, Range="bytes=9-", If_Range=etag).status == 206
    whole = ask(url, Range="bytes=9-", If_Range=f'"{hashlib.sha256(LARGE).hexdigest()}"')
    assert (whole.status, whole.body) == (200, LARGE)


def test_storage_can_give_the_sha256_as_etag():
    """With `cdn_etag="sha256"` the second port's etag is the file's."""
    with LoopbackHub(cdn_etag="sha256") as hub:
        hub.add_repo(REPO, {"model.bin": LARGE})
        assert ask(link(hub, "model.bin"), "HEAD").headers["etag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"'


@pytest.mark.parametrize("given", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
@pytest.mark.parametrize(("name", "data"), [("model.bin", LARGE), ("config.json", SMALL)])
def test_a_file_that_has_not_changed_is_not_modified(served, given, name, data):
    """`If-None-Match` with the file's etag gets 304 from the resolve URL, no body and no redirect."""
    etag = hashlib.sha256(data).hexdigest() if name == "model.bin" else SMALL_OID
    reply = ask(resolve(served, name), "HEAD", If_None_Match=given.format(etag))
    assert (reply.status, reply.body) == (304, b"")
    assert ask(resolve(served, name), "HEAD", If_None_Match='"another"').status in (302, 307)


def test_revisions_name_commits(hub):
    """Branches move, tags stay, and a commit is found by its id or the id's beginning."""
    first = hub.add_repo(REPO, {"f": b"1"})
    hub.tag(REPO, "v1")
    second = hub.add_repo(REPO, {"f": b"2"})
    hub.add_repo(REPO, {"f": b"3"}, revision="refs/pr/1")
    for revision, expected in [
        ("main", b"2"),
        ("v1", b"1"),
        (first, b"1"),
        (second[:7], b"2"),
        ("refs%2Fpr%2F1", b"3"),
    ]:
        reply = ask(resolve(hub, "f", revision), "HEAD")
        assert ask(hub.url + reply.headers["location"]).body == expected


def test_a_commit_follows_from_its_content(hub):
    """The same files give the same commit id, other bytes or names another."""
    first = hub.add_repo(REPO, {"f": b"1"})
    assert hub.add_repo(REPO, {"g": b"1"}) != first
    assert hub.add_repo(REPO, {"f": b"1"}) == first


def test_each_repo_type_has_its_own_prefix(hub):
    """A dataset, a space and a kernel of the same id are other repos, each under its own prefix."""
    for repo_type in ("model", "dataset", "space", "kernel"):
        hub.add_repo(REPO, {"f": repo_type.encode()}, repo_type=repo_type)
    for prefix, expected in [("", b"model"), ("datasets/", b"dataset"), ("spaces/", b"space"), ("kernels/", b"kernel")]:
        location = ask(resolve(hub, "f", prefix=prefix), "HEAD").headers["location"]
        assert ask(hub.url + location).body == expected


def test_a_repo_without_an_owner_is_found(hub):
    """A repo id may be a single name."""
    hub.add_repo("gpt2", {"f": b"1"})
    assert ask(resolve(hub, "f", repo="gpt2"), "HEAD").status == 307
    assert json.loads(ask(f"{hub.url}/api/models/gpt2").body)["id"] == "gpt2"
    assert ask(f"{hub.url}/api/models/gpt2/tree/main").status == 200


def test_a_renamed_repo_redirects(hub):
    """Requests for a repo's former id get 307 to its present one, files and API alike."""
    hub.add_repo("old/name", {"f": b"1"})
    hub.rename("old/name", "new/name")
    reply = ask(resolve(hub, "f", repo="old/name"), "HEAD")
    assert (reply.status, reply.headers["location"]) == (307, "/new/name/resolve/main/f")
    assert ask(f"{hub.url}/api/models/old/name?blobs=true").headers["location"] == "/api/models/new/name?blobs=true"


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("org/none/resolve/main/f", None, 401, None),
        ("org/none/resolve/main/f", "right", 404, "RepoNotFound"),
        (f"{REPO}/resolve/none/config.json", None, 404, "RevisionNotFound"),
        (f"{REPO}/resolve/main/none", None, 404, "EntryNotFound"),
        (f"{REPO}/resolve/main/config.json", "wrong", 401, None),
        ("org/private/resolve/main/f", None, 401, None),
        ("org/private/resolve/main/f", "guest", 404, "RepoNotFound"),
        ("org/private/resolve/main/f", "right", 307, None),
        ("org/gated/resolve/main/f", None, 401, "GatedRepo"),
        ("org/gated/resolve/main/f", "guest", 403, "GatedRepo"),
        ("org/gated/resolve/main/f", "right", 307, None),
        ("api/models/org/private", None, 401, None),
        ("api/models/org/gated", None, 200, None),
    ],
)
def test_refusals_are_worded_as_the_hub_words_them(path, token, status, code):
    """What is missing, private or gated gets the Hub's status, `X-Error-Code` and a request id."""
    with LoopbackHub(token="right", guest_tokens=["guest"]) as hub:
        hub.add_repo(REPO, {"config.json": SMALL})
        hub.add_repo("org/private", {"f": b"1"}, private=True)
        hub.add_repo("org/gated", {"f": b"1"}, gated=True)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = ask(f"{hub.url}/{path}", "HEAD", **headers)
        assert (reply.status, reply.headers.get("x-error-code")) == (status, code)
        assert reply.headers["x-request-id"]
        assert ("x-error-message" in reply.headers) == (status >= 400)
        assert "right" not in str(reply.headers)


def test_a_token_on_the_second_port_is_refused_and_logged(served):
    """The second port answers 400 to a request with `Authorization`, and the log calls it a leak."""
    url = link(served, "model.bin")
    assert ask(url, Authorization="Bearer x").status == 400
    assert [record.path for record in served.leaks] == [urlsplit(url).path]


def test_a_link_without_its_signature_is_refused(served):
    """A link that was changed, and one whose time is over, get 403."""
    url = link(served, "model.bin")
    assert ask(url.replace("X-Amz-Signature=", "X-Amz-Signature=0")).status == 403
    with LoopbackHub(link_lifetime=-1) as hub:
        hub.add_repo(REPO, {"model.bin": LARGE})
        assert ask(link(hub, "model.bin")).status == 403


def test_the_api_tells_what_a_repo_is(served):
    """The revision API gives the commit and the names; with `blobs` also sizes and hashes."""
    about = json.loads(ask(f"{served.url}/api/models/{REPO}/revision/main?blobs=true").body)
    files = {sibling["rfilename"]: sibling for sibling in about["siblings"]}
    assert about["id"] == REPO
    assert about["sha"] == ask(resolve(served, "config.json"), "HEAD").headers["x-repo-commit"]
    assert set(files) == {"model.bin", "config.json", "a b/ü#%.txt", "empty"}
    assert files["model.bin"]["lfs"]["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert files["config.json"]["blobId"] == SMALL_OID


def test_the_tree_comes_in_pages():
    """A listing longer than a page is continued by `Link`, and all pages together list every file once."""
    with LoopbackHub(page_size=7) as hub:
        hub.add_repo(REPO, {f"d{i % 3}/f{i}": b"%d" % i for i in range(20)})
        url, names, pages = f"{hub.url}/api/models/{REPO}/tree/main?recursive=true", [], 0
        while url:
            reply = ask(url)
            names += [item["path"] for item in json.loads(reply.body) if item["type"] == "file"]
            following = reply.headers.get("link", "")
            url, pages = following[1 : following.index(">")] if following else "", pages + 1
        assert sorted(names) == sorted(f"d{i % 3}/f{i}" for i in range(20))
        assert pages == 4


def test_a_tree_that_is_not_recursive_shows_folders(served):
    """Without `recursive` a folder is one item; its own listing shows what is in it."""
    items = {item["path"]: item["type"] for item in json.loads(ask(f"{served.url}/api/models/{REPO}/tree/main").body)}
    assert items == {"model.bin": "file", "config.json": "file", "a b": "directory", "empty": "file"}
    inside = json.loads(ask(f"{served.url}/api/models/{REPO}/tree/main/a%20b").body)
    assert [item["path"] for item in inside] == ["a b/ü#%.txt"]
    assert ask(f"{served.url}/api/models/{REPO}/tree/main/none").headers["x-error-code"] == "EntryNotFound"


def test_tree_items_carry_both_hashes_of_a_large_file(served):
    """A large file has its sha256 under `lfs`, and as `oid` the git id of its LFS pointer."""
    items = {item["path"]: item for item in json.loads(ask(f"{served.url}/api/models/{REPO}/tree/main").body)}
    sha256 = hashlib.sha256(LARGE).hexdigest()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha256.encode(), len(LARGE))
    assert items["model.bin"]["lfs"] == {"oid": sha256, "size": len(LARGE), "pointerSize": len(pointer)}
    assert items["model.bin"]["oid"] == hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    assert items["config.json"] == {"type": "file", "oid": SMALL_OID, "size": len(SMALL), "path": "config.json"}


@pytest.mark.parametrize("query", ["cursor=x", "limit=-1"])
def test_a_listing_refuses_what_it_cannot_read(served, query):
    """A cursor or limit that is no number gets 400."""
    assert ask(f"{served.url}/api/models/{REPO}/tree/main?{query}").status == 400


def test_some_paths_can_be_asked_for(served):
    """`paths-info` answers with the items of the paths that exist, asked by form or by JSON."""
    url = f"{served.url}/api/models/{REPO}/paths-info/main"
    form = ask(url, "POST", b"paths=config.json&paths=none", Content_Type="application/x-www-form-urlencoded")
    assert [item["path"] for item in json.loads(form.body)] == ["config.json"]
    listed = ask(url, "POST", b'{"paths": ["a b"]}', Content_Type="application/json")
    assert [item["type"] for item in json.loads(listed.body)] == ["directory"]
    assert ask(url, "POST", b"[", Content_Type="application/json").status == 400


def test_a_folder_is_served(tmp_path):
    """Below `models`, `datasets` and `spaces` each folder is a repo, with its files in place."""
    for name in ("models/org/a/sub/f", "models/solo/f", "datasets/org/a/f"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    with LoopbackHub(tmp_path) as hub:
        for repo, prefix, name, kind in [
            ("org/a", "", "sub/f", "models"),
            ("solo", "", "f", "models"),
            ("org/a", "datasets/", "f", "datasets"),
        ]:
            location = ask(resolve(hub, name, repo=repo, prefix=prefix), "HEAD").headers["location"]
            assert ask(hub.url + location).body == f"{kind}/{repo}/{name}".encode()
        for missing in ("org", "org/..", "..", "org/b"):
            assert ask(resolve(hub, "f", repo=missing), "HEAD").status == 401


def test_only_loopback_is_bound(hub):
    """Both URLs are on 127.0.0.1, on two different ports."""
    hosts = [urlsplit(url) for url in (hub.url, hub.cdn_url)]
    assert [host.hostname for host in hosts] == ["127.0.0.1", "127.0.0.1"]
    assert hosts[0].port != hosts[1].port


def test_a_stopped_hub_refuses_and_comes_back_at_the_same_url():
    """After `stop` nobody listens, the URL stays known, and `start` serves there again."""
    hub = LoopbackHub().start()
    hub.add_repo(REPO, {"f": b"1"})
    url = hub.url
    hub.stop()
    hub.stop()
    assert refuses(url)
    with hub:
        assert hub.url == url
        assert ask(resolve(hub, "f"), "HEAD").status == 307


def test_a_hub_that_was_never_started_has_no_url():
    """The URL before the start is an error that says so."""
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = LoopbackHub().url


@pytest.mark.parametrize(("method", "path"), [("PUT", "/x"), ("GET", "/"), ("GET", "/api/models"), ("GET", "/.hub/x")])
def test_what_the_hub_does_not_serve_is_refused(hub, method, path):
    """Other methods and other paths get 404 or 405."""
    assert ask(hub.url + path, method).status in (404, 405)
