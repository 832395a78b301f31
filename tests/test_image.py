"""The Dockerfile is built by buildah, without a registry, on a base image that is made here from Debian's packages."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from support import FILE, REPO, pattern

from model_cache.testing import LoopbackHub

pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.timeout(900)]
TOP = Path(__file__).resolve().parent.parent
DOCKERFILE = TOP / "deploy" / "docker" / "Dockerfile"
TOKEN = "hf_" + "secretword" * 3
BYTES = {FILE: pattern(3 * 2**20), "onnx/config.json": b'{"a": "word that only this file has"}'}
# Left out of the base image: they are not needed, and each layer is a copy of all files below it.
BULK = (
    "./dev/",
    "./proc/",
    "./sys/",
    "./usr/share/doc/",
    "./usr/share/locale/",
    "./var/cache/apt/",
    "./var/lib/apt/lists/",
)
INDEX = "[global]\nno-index = true\nfind-links = /wheels\nroot-user-action = ignore\n"


def run(*words, **more):
    """Run a command that must succeed; what it prints."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600, **more)
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout.strip()


def debian(scratch):
    """The root of a Debian with Python and pip; skips where none can be made."""
    target, suite = scratch / "debian", platform.freedesktop_os_release()["VERSION_CODENAME"]
    words = ["debootstrap", "--variant=minbase", "--include=python3,python3-pip", suite, str(target)]
    # What it mounts goes with its namespace, whatever happens.
    made = subprocess.run(["unshare", "--mount", *words], capture_output=True, text=True, timeout=600)
    if made.returncode:
        pytest.skip(f"no base image: debootstrap {suite}: {made.stdout.strip().splitlines()[-1:]}")
    return target


def add_wheels(target, scratch):
    """Put this checkout and what it depends on into the root, as the only index that its pip knows."""
    (python,) = (path.name for path in (target / "usr/bin").glob("python3.*[0-9]"))
    run(sys.executable, "-m", "venv", scratch / "venv")
    pip, wheels = [scratch / "venv/bin/python", "-m", "pip"], target / "wheels"
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, TOP)
    (own,) = wheels.iterdir()
    chosen = ["--only-binary=:all:", "--python-version", python.removeprefix("python")]
    run(*pip, "download", *chosen, "--dest", wheels, own)
    (target / "etc/pip.conf").write_text(INDEX)
    # Debian's Python wants to be left alone; the one of the image that stands in the Dockerfile does not.
    for mark in (target / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
        mark.unlink()


class Builder:
    """buildah, with all it writes below one directory."""

    def __init__(self, scratch):
        self.scratch, self.storage = scratch, scratch / "storage"
        self.env = {"PATH": os.environ["PATH"]}
        for name, folder in {"HOME": "home", "TMPDIR": "tmp", "XDG_RUNTIME_DIR": "run"}.items():
            (scratch / folder).mkdir()
            self.env[name] = str(scratch / folder)
        (scratch / "lib").mkdir()

    def words(self, *words):
        """A command of buildah's as it is run; it keeps a cache in /var/lib, whatever its options, so it sees another one."""
        inside = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /var/lib && exec "$@"', self.scratch / "lib"]
        places = ["--root", self.storage, "--runroot", self.scratch / "run", "--storage-driver", "vfs"]
        return [str(word) for word in (*inside, "buildah", *places, *words)]

    def __call__(self, *words):
        """What a command that must succeed prints."""
        return run(*self.words(*words), env=self.env)

    def build(self, *options, context):
        """Build what is in a directory; the finished process."""
        how = ["--isolation", "chroot", "--network", "host", "--pull=never"]
        words = self.words("build", *how, *options, context)
        return subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=600)

    def inside(self, container, *words, env=()):
        """Run a command in a container, as the image says: the finished process."""
        given = [f"--env={pair}" for pair in env]
        words = self.words("run", "--isolation", "chroot", "--network", "host", *given, container, "--", *words)
        return subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=120)


def base_image(builder, scratch):
    """Make the image that the Dockerfile begins with, under its name."""
    from dockerfile_parse import DockerfileParser

    target = debian(scratch)
    add_wheels(target, scratch)
    context = scratch / "base"
    context.mkdir()
    with tarfile.open(context / "root.tar", "w") as tar:
        tar.add(target, ".", filter=lambda info: None if f"{info.name}/".startswith(BULK) else info)
    shutil.rmtree(target)
    (context / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
    name = DockerfileParser(path=str(DOCKERFILE.parent), cache_content=True).parent_images[0]
    done = builder.build("--tag", f"docker.io/library/{name}", context=context)
    if done.returncode:
        pytest.skip(f"buildah cannot build here: {done.stderr.strip().splitlines()[-1:]}")
    probe = builder("from", "--pull=never", name)
    done = builder.inside(probe, "true")
    if done.returncode:
        pytest.skip(f"buildah cannot run here: {done.stderr.strip().splitlines()[-1:]}")
    builder("rm", probe)


@pytest.fixture(scope="module")
def private_hub():
    """A hub with one repo that nobody gets without the token."""
    with LoopbackHub() as running:
        running.add_repo(REPO, BYTES, private=True)
        yield running


@pytest.fixture(scope="module")
def built(private_hub, tmp_path_factory):
    """The Dockerfile built from a lock file, with each stage and layer kept as Docker does; its builder."""
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root and buildah, debootstrap, unshare; missing: {' '.join(missing) or 'root'}")
    scratch = tmp_path_factory.mktemp("image")
    try:
        builder = Builder(scratch)
        base_image(builder, scratch)
        builder.context, secret = scratch / "context", scratch / "hf_token"
        builder.context.mkdir()
        shutil.copy(DOCKERFILE, builder.context)
        secret.write_text(TOKEN)
        ask = {**builder.env, "HF_ENDPOINT": private_hub.url, "HF_TOKEN": TOKEN}
        command = [sys.executable, "-m", "model_cache", "--root", scratch / "made", "lock", "-q", REPO]
        run(*command, "-o", builder.context / "models.lock", env=ask)
        builder.mirror, builder.secret = (
            f"--build-arg=HF_ENDPOINT={private_hub.url}",
            f"--secret=id=hf_token,src={secret}",
        )
        done = builder.build("--layers", builder.mirror, builder.secret, "--tag=models", context=builder.context)
        assert done.returncode == 0, done.stdout + done.stderr
        builder.printed = done.stdout + done.stderr
        private_hub.reset()
        yield builder
    finally:
        shutil.rmtree(scratch)


@pytest.fixture
def container(built):
    """A container of the image; words are run in it as its user."""
    name = built("from", "--pull=never", "localhost/models")
    yield lambda *words, env=(): built.inside(name, *words, env=env)
    built("rm", name)


def config(built):
    """What the image says of how it is run, and its history."""
    return json.loads(built("inspect", "--type=image", "localhost/models"))["OCIv1"]


def test_the_image_says_that_it_has_its_models(built, container, private_hub):
    """Its command ends with 0, as uid 10001, without a request."""
    assert container("id", "-u").stdout == "10001\n"
    done = container(*config(built)["config"]["Cmd"])
    assert done.returncode == 0, done.stderr
    assert private_hub.count() == 0


def test_a_locked_file_is_read_offline_and_a_miss_is_10(container, private_hub):
    """The file has the hub's bytes; another is not asked for; nothing of the root can be changed."""
    done = container("model-cache", "fetch", "-q", REPO, FILE)
    assert (done.returncode, done.stdout) == (0, f"/srv/models/{REPO}/{FILE}\n"), done.stderr
    digest = container("sha256sum", done.stdout.strip()).stdout.split()[0]
    assert digest == hashlib.sha256(BYTES[FILE]).hexdigest()
    assert container("model-cache", "fetch", "-q", REPO, "other.bin").returncode == 10
    assert container("touch", f"/srv/models/{REPO}/{FILE}").returncode != 0
    assert private_hub.count() == 0


def test_a_cache_above_the_image_downloads_what_it_lacks(container, private_hub):
    """The user of the image may write where a volume is mounted: with the worker's settings another repo comes there."""
    private_hub.add_repo("owner/other", {FILE: pattern(2**16, 1)})
    above = ["MODEL_CACHE_DIR=/var/cache/models", "MODEL_CACHE_LOWER=/srv/models", f"HF_ENDPOINT={private_hub.url}"]
    env = [*above, "MODEL_CACHE_READ_ONLY=0", "MODEL_CACHE_OFFLINE=0"]
    done = container("model-cache", "fetch", "-q", "owner/other", FILE, env=env)
    assert (done.returncode, done.stdout) == (0, f"/var/cache/models/owner/other/{FILE}\n"), done.stderr
    done = container("model-cache", "fetch", "-q", REPO, FILE, env=env)
    assert done.stdout == f"/srv/models/{REPO}/{FILE}\n", done.stderr
    assert private_hub.body_gets(FILE) == 1


def having(folder, word):
    """The files below a directory that have a word in them."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if word in path.read_bytes()]


def test_no_byte_of_the_image_or_of_what_was_built_on_the_way_has_the_token(built):
    """Neither layers, configuration and history, nor the stage that used it, nor what the build printed."""
    out = built.scratch / "pushed"
    built("push", "--disable-compression", "localhost/models", f"dir:{out}")
    # The same search finds what is there: a model's bytes in a layer, a line of the Dockerfile in the history.
    assert having(out, BYTES["onnx/config.json"]) and having(out, b"USER 10001")
    assert having(built.storage, BYTES["onnx/config.json"])
    assert having(built.storage, b"HF_TOKEN_PATH=/run/secrets/hf_token")
    assert having(out, TOKEN.encode()) == []
    assert having(built.storage, TOKEN.encode()) == []
    assert TOKEN not in built.printed + json.dumps(config(built))


def models(built, image):
    """The model files of an image by their paths: sha256 of each."""
    name = built("from", "--pull=never", image)
    try:
        root = Path(built("mount", name)) / "srv/models"
        files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
        ours = (".model-cache/", "CACHEDIR.TAG")
        return {at: hashlib.sha256(files[at].read_bytes()).hexdigest() for at in files if not at.startswith(ours)}
    finally:
        built("rm", name)


def test_a_second_build_from_the_same_lock_file_has_the_same_models(built, private_hub):
    """Nothing of the first build is used, and the paths and bytes are the same, each file fetched once more."""
    private_hub.reset()
    options = ["--no-cache", built.mirror, built.secret, "--tag=again"]
    done = built.build(*options, context=built.context)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [private_hub.body_gets(name) for name in BYTES] == [1, 1]
    expected = {f"{REPO}/{name}": hashlib.sha256(data).hexdigest() for name, data in BYTES.items()}
    assert models(built, "localhost/models") == models(built, "localhost/again") == expected


def test_without_the_secret_a_private_model_fails_the_build(built, private_hub):
    """The build ends with the one line and its hint, and makes no image."""
    done = built.build("--no-cache", built.mirror, "--tag=none", context=built.context)
    assert done.returncode != 0
    assert "hint:" in done.stderr and "Traceback" not in done.stderr
    assert "localhost/none" not in built("images")
