"""`python -m stress.hostile.tokens`: where a secret could show, however it got there.

One run for each way in, with failures of every kind, and a look at everything afterwards: what was printed, logged and raised,
what is on disk, what was sent, and what children were given.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .server import COMMIT, JSON, Asked, RawHub, Reply, Wire, message

SECRET = "hf_PLANTEDpLaNtEdplanted0123456789abcd"
_AT_ONCE = 4
_FORMS = [SECRET.encode(), base64.b64encode(f"user:{SECRET}".encode()), base64.b64encode(SECRET.encode())]

# The ways in.
WAYS = (
    "argument",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HOME",
    "the endpoint's address",
    "a signed link",
    "repeated by the Hub",
)
# The places: what is shown, what is left on disk, and what is sent. Those of `leaking` are files it wrote.
_SHOWN = {
    "commands": "what commands print",
    "log": "the log, all of it at DEBUG",
    "errors": "errors: text, fields, traceback",
    "variables": "errors: the variables of their frames",
    "pickles": "errors and objects, pickled",
    "objects": "objects, printed",
    "children": "children: command line, environment",
}
_ROOT = {
    "index and its backups": ("index*", "backup/**/*"),
    "notes, listings, locks, partials": (
        "partial/*",
        "listings/*",
        "locks/*",
        "used/*",
        "damaged/*",
        "quarantine/**/*",
    ),
    "the rest of the root": ("**/*",),
}
_WRITTEN = {
    "the report, and its copy of the index": ("report.html", "copy.db"),
    "metrics": ("cache.prom",),
    "the lock file": ("models.lock",),
    "anything else on disk": ("**/*",),
}
SENT = "requests to anybody but the Hub"
PLACES = (*_SHOWN.values(), *_ROOT, *_WRITTEN, SENT)


def _body(name: str) -> bytes:
    """The bytes of a file: no two have the same, else one would be linked to the other and never be asked for."""
    return f"{name} ".encode() * 1000


def _linked(name: str) -> dict[str, str]:
    """What the Hub promises of a file."""
    body = _body(name)
    sha256 = hashlib.sha256(body).hexdigest()
    return {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(body))}


def _name(asked: Asked) -> str:
    return asked.target.partition("?")[0].rpartition("/")[2].removesuffix(".bin")


def look(way: str) -> dict[str, bool]:
    """Use the cache with a secret that got there one way; by place, whether it showed."""
    folder = Path(tempfile.mkdtemp(prefix="model-cache-tokens-"))
    try:
        with RawHub("any", _storage(way)) as storage, RawHub("any", _hub(way, storage)) as hub:
            given, environ = _planted(way, hub, folder)
            _run(folder, given, environ)
            if not _arrived(way, hub, storage):
                raise RuntimeError(f"{way}: the secret never came where it belongs, so nothing was tried")
            return _found(folder, way, hub, storage)
    finally:
        shutil.rmtree(folder)


def look_all() -> dict[str, dict[str, bool]]:
    """Every way in."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(WAYS, pool.map(look, WAYS), strict=True))


def _planted(way: str, hub: RawHub, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The arguments and the environment that bring the secret there."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "token").write_text(SECRET)
    given: dict[str, str] = {"endpoint": hub.url}
    environ = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "none")}
    if way == "argument":
        given["token file"] = f"{secrets}/token"
    elif way in ("HF_TOKEN", "repeated by the Hub"):
        environ["HF_TOKEN"] = SECRET
    elif way == "HF_TOKEN_PATH":
        environ["HF_TOKEN_PATH"] = f"{secrets}/token"
    elif way == "HF_HOME":
        environ["HF_HOME"] = str(secrets)
    elif way == "the endpoint's address":
        environ["HF_ENDPOINT"] = hub.url.replace("//", f"//user:{SECRET}@")
        del given["endpoint"]
    return given, environ


def _run(folder: Path, given: dict[str, str], environ: dict[str, str]) -> None:
    for name in ("home", "work", "work/empty"):
        (folder / name).mkdir()
    # Whoever has a .netrc for this host does not mean the Hub by it.
    (folder / "home" / ".netrc").write_text("machine 127.0.0.1 login somebody password netrc-password\n")
    (folder / "home" / ".netrc").chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "stress.hostile.leaking", str(folder), json.dumps(given)],
        cwd=folder / "work",
        env={
            "PATH": os.environ["PATH"],
            "HOME": f"{folder}/home",
            "TMPDIR": f"{folder}/work",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MODEL_CACHE_DIR": f"{folder}/root",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    with (folder / "seen" / "commands").open("a") as file:
        file.write(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(done.stderr)


def _arrived(way: str, hub: RawHub, storage: RawHub) -> bool:
    """Whether the secret was sent where it is to be sent; a password in the endpoint's address is not sent at all."""
    if way == "the endpoint's address":
        return not hub.asked
    return any(_shows(repr(one).encode()) for one in (storage if way == "a signed link" else hub).asked)


def _found(folder: Path, way: str, hub: RawHub, storage: RawHub) -> dict[str, bool]:
    found = {}
    for name, place in _SHOWN.items():
        path = folder / "seen" / name
        found[place] = path.exists() and _shows(path.read_bytes())
    for top, places in ((folder / "root" / ".model-cache", _ROOT), (folder / "work", _WRITTEN)):
        for place, patterns in places.items():
            found[place] = any(_file_shows(path) for pattern in patterns for path in top.glob(pattern))
    found["the rest of the root"] |= any(_file_shows(path) for path in (folder / "root").rglob("*"))
    found["anything else on disk"] |= any(
        _file_shows(path) for path in (folder / "home").rglob("*") if path.name != ".netrc"
    )
    # A signed link is the storage's own; everything else of a secret is the Hub's alone, and not on the way back.
    asked = [one for one in hub.asked if way == "a signed link" or one.target.startswith("/back")]
    asked += [one for one in storage.asked if way != "a signed link"]
    found[SENT] = any(_shows(repr(one).encode()) or "authorization" in one.headers for one in asked)
    return found


def _file_shows(path: Path) -> bool:
    return _shows(str(path).encode()) or (path.is_file() and _shows(path.read_bytes()))


def _shows(data: bytes) -> bool:
    return any(form in data for form in _FORMS) or b"netrc-password" in data


def _hub(way: str, storage: RawHub) -> Reply:
    """A Hub that does what the name of a file says, and repeats what it was sent where it is told to."""
    signature = f"&X-Amz-Signature={SECRET}" if way == "a signed link" else ""
    repeats = way == "repeated by the Hub"

    def reply(asked: Asked, wire: Wire) -> bool:
        said = asked.headers.get("authorization", "nothing") if repeats else "nothing"
        link = f"{storage.url}{asked.target}?home={wire.hub.port}{signature}"
        more = dict.fromkeys(("X-Error-Message", "X-Request-Id", "Set-Cookie", "Server", "WWW-Authenticate"), said)
        if asked.stage == "commit":
            wire.send(message(200, {**JSON, **more}, json.dumps({"sha": COMMIT, "author": said}).encode()))
        elif asked.stage == "tree":
            wire.send(message(200, {**JSON, **more}, _tree(said if repeats else "x").encode()))
        elif asked.target.startswith("/back"):
            wire.send(message(200, more, _body("back")))
        elif asked.stage == "metadata" and asked.target.endswith("401.bin"):
            wire.send(message(401, {**JSON, **more, "X-Error-Code": "GatedRepo"}, json.dumps({"error": said}).encode()))
        elif asked.method == "HEAD":
            wire.send(message(302, {**_linked(_name(asked)), **more, "Location": link}))
        else:
            _bytes(asked, wire, more, link, said)
        return True

    return reply


def _tree(said: str) -> str:
    """A listing of one good file; of a Hub that repeats, with the token as a name, escaped."""
    linked = _linked("good")
    lfs = {"oid": linked["X-Linked-Etag"].strip('"'), "size": int(linked["X-Linked-Size"])}
    item = {"type": "file", "path": "good.bin", "size": lfs["size"], "lfs": lfs}
    other = {**item, "path": said}
    return json.dumps([item] if said == "x" else [item, other]).replace("PLANTED", "\\u0050LANTED")


def _bytes(asked: Asked, wire: Wire, more: dict[str, str], link: str, said: str) -> None:
    name = _name(asked)
    error = json.dumps({"error": said}).encode()
    if name.isdecimal():
        wire.send(message(int(name), {**JSON, **more}, error))
    elif name == "file":
        wire.send(message(302, {**more, "Location": f"file:///etc/passwd?{link.partition('?')[2]}&{said.split()[-1]}"}))
    elif name == "expired":
        wire.send(
            message(302, {**_linked(_name(asked)), **more, "Location": link.replace("?", f"?{said.split()[-1]}&")})
        )
    elif name == "dead":
        wire.send(message(302, {**more, "Location": link.replace("http://127.0.0.1", "http://127.0.0.2")}))
    else:
        wire.send(message(302, {**_linked(_name(asked)), **more, "Location": link}))


def _storage(way: str) -> Reply:
    """Where the links lead; it fails as the name of the file says, and quotes the link."""

    def reply(asked: Asked, wire: Wire) -> bool:
        name = _name(asked)
        quoted = {"X-Amz-Error": asked.target, "X-Request-Id": asked.target} if way == "a signed link" else {}
        answers: dict[str, Callable[[], bytes]] = {
            "back": lambda: message(302, {**quoted, "Location": f"http://127.0.0.1:{_home(asked)}/back"}),
            "cut": lambda: message(200, {**quoted, "Content-Length": str(len(_body(name)))}, _body(name)[:1000]),
            "html": lambda: message(200, {**quoted, "Content-Type": "text/html"}, asked.target.encode()),
            "wrong": lambda: message(200, quoted, _body(name)[::-1]),
            "expired": lambda: message(403, quoted, asked.target.encode()),
        }
        if name == "hangup":
            return False
        wire.send(answers.get(name, lambda: message(200, quoted, _body(name)))())
        return name != "cut"

    return reply


def _home(asked: Asked) -> str:
    """The port of the Hub that a link came from."""
    return asked.target.partition("home=")[2].partition("&")[0]


def main() -> int:
    """Print the matrix; 1 where a secret showed."""
    found = look_all()
    table = Table(box=None)
    for name in ("where it could show", *WAYS):
        table.add_column(name, justify="left" if name == "where it could show" else "center")
    for place in PLACES:
        table.add_row(place, *("LEAK" if found[way][place] else "no" for way in WAYS))
    Console(width=150).print(table)
    leaks = sum(sum(places.values()) for places in found.values())
    print(f"{len(PLACES)} places, {len(WAYS)} ways in: {leaks} leaks")
    return int(leaks > 0)


if __name__ == "__main__":
    sys.exit(main())
