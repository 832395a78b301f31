"""The Dockerfile and the manifests: they fit their schemas, and what they run does what the pages say."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from support import FILE, PATIENT, REPO, Later, pattern

from model_cache import ModelCache
from model_cache.units import parse_size

TOP = Path(__file__).resolve().parent.parent
DEPLOY, HOW_TO = TOP / "deploy", TOP / "docs" / "how-to"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
TOKEN = "hf_" + "secretword" * 3
COMMAND = [sys.executable, "-m", "model_cache"]
ROOTS = ("/var/cache/models/root", "/srv/models")
NOBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
BYTES = {FILE: pattern(3 * 2**20), "config.json": b"{}"}


def documents(path):
    """The objects of a manifest."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def named(kind, file="shared-disk.yaml"):
    """The one object of a kind."""
    (found,) = [found for found in documents(DEPLOY / "kubernetes" / file) if found["kind"] == kind]
    return found


OWN = named("Deployment", "own-disk.yaml")["spec"]["template"]["spec"]


@pytest.fixture
def box(environ, hub, tmp_path):
    """Run the words of a container, with its paths below this test's directory."""
    hub.add_repo(REPO, BYTES)
    bin_, lock, root = tmp_path / "bin", tmp_path / "models.lock", tmp_path / "root"
    bin_.mkdir()
    (bin_ / "model-cache").write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    (bin_ / "model-cache").chmod(0o755)
    base = {**environ, "PATH": f"{bin_}:{environ['PATH']}", "HF_ENDPOINT": hub.url, **PATIENT}
    made = [*COMMAND, "--root", str(tmp_path / "made"), "lock", "-q", REPO, "-o", str(lock)]
    subprocess.run(made, env=base, check=True, timeout=120)
    hub.reset()

    def here(text):
        for path in ROOTS:
            text = text.replace(path, str(root))
        return text.replace("/etc/models/models.lock", str(lock))

    def run(words, env=(), **more):
        given = {pair["name"]: here(pair["value"]) for pair in env if "value" in pair}
        environment = {**base, **given, **more.pop("environ", {})}
        command = [here(word) for word in words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **more)

    run.root, run.here, run.base = root, here, base
    return run


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_schema_of_kubernetes_has_nothing_against_a_manifest(path):
    """Each object is valid to the strict schema, which knows no misspelt key."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checker's own imports
        import kubernetes_validate

        for found in documents(path):
            kubernetes_validate.validate(found, "1.36", strict=True)


def test_the_schema_notices_a_misspelt_key():
    """A manifest with a key that there is not is refused, so the test above can fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kubernetes_validate

        wrong = named("Job")
        wrong["spec"]["backofLimit"] = 1
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, "1.36", strict=True)


def quantity(text):
    """Bytes of a quantity of Kubernetes, in Gi."""
    assert text.endswith("Gi")
    return int(text.removesuffix("Gi")) * 2**30


def test_the_budget_stays_below_what_the_volume_may_hold():
    """max_size leaves a tenth of the volume or more, and all containers of a volume have the same budget."""
    (volume,) = [found["emptyDir"] for found in OWN["volumes"] if "emptyDir" in found]
    job = named("Job")["spec"]["template"]["spec"]["containers"]
    upkeep = named("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    claim = named("PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"]
    places = [(volume["sizeLimit"], OWN["initContainers"] + OWN["containers"]), (claim, job + upkeep)]
    for limit, containers in places:
        budgets = {pair["value"] for one in containers for pair in one["env"] if pair["name"] == "MODEL_CACHE_MAX_SIZE"}
        (budget,) = budgets
        assert parse_size(budget) <= 0.9 * quantity(limit)


def test_the_probe_fails_until_the_init_container_is_done(box, hub):
    """Before it and in its middle the probe ends with 10, after it with 0."""
    (init,), (app,) = OWN["initContainers"], OWN["containers"]
    probe = app["startupProbe"]["exec"]["command"]
    assert box(probe, app["env"]).returncode == 10
    given = {pair["name"]: box.here(pair["value"]) for pair in init["env"]}
    with hub.hold(FILE, after=0.5) as hold:
        syncing = subprocess.Popen(
            [box.here(word) for word in init["command"]], env={**box.base, **given}, stdout=subprocess.PIPE
        )
        try:
            hold.wait_for(1)
            assert box(probe, app["env"]).returncode == 10
            hold.release()
            syncing.communicate(timeout=120)
        finally:
            syncing.kill()
            syncing.communicate()
    assert syncing.returncode == 0
    assert box(probe, app["env"]).returncode == 0
    assert hub.body_gets(FILE) == 1


def test_the_job_fills_a_root_that_the_group_may_write(box):
    """Under umask 002 files are 0664 and directories have setgid; the upkeep finds nothing wrong in it."""
    (job,) = named("Job")["spec"]["template"]["spec"]["containers"]
    done = box(job["command"], job["env"])
    assert done.returncode == 0, done.stderr
    assert (box.root / REPO / FILE).stat().st_mode & 0o777 == 0o664
    assert (box.root / REPO).stat().st_mode & 0o7777 == 0o2775
    (upkeep,) = named("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    done = box(upkeep["command"], upkeep["env"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def runs():
    """The RUN instructions of the Dockerfile, by their text."""
    from dockerfile_parse import DockerfileParser

    parser = DockerfileParser(path=str(DEPLOY / "docker"), cache_content=True)
    return [step["value"] for step in parser.structure if step["instruction"] == "RUN"]


def sync_line(box, tmp_path):
    """The RUN that prefetches, as a shell gets it: the secret is a file of this test."""
    secret = tmp_path / "hf_token"
    secret.write_text(TOKEN)
    (line,) = [text for text in runs() if "model-cache sync" in text]
    mount, _, command = line.partition(" ")
    assert mount == "--mount=type=secret,id=hf_token"
    return box.here(command.replace("/run/secrets/hf_token", str(secret)))


def test_the_build_uses_the_token_and_keeps_it_nowhere(box, hub, tmp_path):
    """A private repo comes with the token and not without; no byte of the layer, and nothing that is printed, has it."""
    hub.add_repo(REPO, BYTES, private=True)
    line = sync_line(box, tmp_path)
    assert box(["sh", "-c", line.replace("hf_token ", "none ")], environ={"MODEL_CACHE_DIR": str(box.root)}).returncode
    done = box(["sh", "-c", line], environ={"MODEL_CACHE_DIR": str(box.root)})
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    files = [path for path in box.root.rglob("*") if path.is_file()]
    assert box.root / REPO / FILE in files
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


@pytest.fixture
def layer(box, hub, tmp_path):
    """The models that the build leaves, owned by somebody else; words to use them without the rights of root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    if subprocess.run([*NOBODY, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let us drop rights")
    done = box(["sh", "-c", sync_line(box, tmp_path)], environ={"MODEL_CACHE_DIR": str(box.root)})
    assert done.returncode == 0, done.stderr
    hub.reset()
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 60_001, 60_001)  # so that uid 0 is "others"; a user of another uid could not read the checkout
    assert box([*NOBODY, "touch", str(box.root / "mine")]).returncode != 0
    return lambda *words, **environ: box([*NOBODY, "model-cache", *words], environ=environ)


@pytest.mark.root
def test_the_layer_serves_a_user_who_may_not_write(box, hub, layer):
    """Who owns nothing of it and has no rights of root's gets the file, without a request; a miss is 10, nothing changes."""
    there = sorted(box.root.rglob("*"))
    read_only = {"MODEL_CACHE_DIR": str(box.root), "MODEL_CACHE_READ_ONLY": "1", "MODEL_CACHE_OFFLINE": "1"}
    found = layer("fetch", "-q", REPO, FILE, **read_only)
    assert (found.returncode, found.stdout) == (0, f"{box.root / REPO / FILE}\n"), found.stderr
    assert layer("fetch", "-q", REPO, "other.bin", **read_only).returncode == 10
    assert hub.count() == 0
    assert sorted(box.root.rglob("*")) == there


@pytest.mark.root
def test_what_the_layer_lacks_comes_into_the_volume_above_it(box, hub, layer, tmp_path):
    """With the worker's environment the image's file is served from the layer, another one is downloaded into the volume."""
    hub.add_repo("owner/other", {FILE: pattern(2**20, 1)})
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    volume = tmp_path / "volume"
    environ = {name: box.here(value) for name, value in compose["services"]["worker"]["environment"].items()}
    assert environ["MODEL_CACHE_DIR"] == "/var/cache/models" and environ["MODEL_CACHE_LOWER"] == str(box.root)
    environ["MODEL_CACHE_DIR"] = str(volume)
    found = layer("fetch", "-q", REPO, FILE, **environ)
    assert (found.returncode, found.stdout) == (0, f"{box.root / REPO / FILE}\n"), found.stderr
    assert hub.count() == 0
    found = layer("fetch", "-q", "owner/other", FILE, **environ)
    assert (found.returncode, found.stdout) == (0, f"{volume / 'owner/other' / FILE}\n"), found.stderr
    assert layer("status", "-q", "--require", str(tmp_path / "models.lock"), **environ).returncode == 0
    assert hub.body_gets(FILE) == 1


@pytest.mark.parametrize("page, folder", [("docker.md", "docker"), ("kubernetes.md", "kubernetes")])
def test_the_page_shows_the_files_themselves(page, folder):
    """Each file of the folder stands on its page to the byte."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    for path in sorted((DEPLOY / folder).iterdir()):
        assert f"```text\n{path.read_text(encoding='utf-8')}```" in text, path.name


@pytest.mark.root
def test_a_volume_of_the_limit_is_never_full(box, hub, tmp_path):
    """With volume and budget of the manifest, in MiB for GiB, more files than fit come one after the other, none is refused."""
    (volume,) = [found["emptyDir"] for found in OWN["volumes"] if "emptyDir" in found]
    (budget,) = [pair["value"] for pair in OWN["containers"][0]["env"] if pair["name"] == "MODEL_CACHE_MAX_SIZE"]
    place = tmp_path / "volume"
    place.mkdir()
    size = volume["sizeLimit"].replace("Gi", "m")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounts a small file system, which needs root")
    try:
        names = [f"{number}.bin" for number in range(8)]
        hub.add_repo("owner/more", {name: pattern(3 * 2**20, seed) for seed, name in enumerate(names)})
        clock = Later()
        settings = {"max_size": budget.replace("GiB", "MiB"), "clock": clock}
        cache = ModelCache(place / "root", endpoint=hub.url, token=False, **settings)
        for seed, name in enumerate(names):
            assert cache.fetch("owner/more", name).read_bytes() == pattern(3 * 2**20, seed)
            clock.ahead += 3600
            found = os.statvfs(place)
            assert found.f_bavail > 0
        assert not cache.is_cached("owner/more", names[0])
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
