"""The page on cron and systemd: what it tells people to copy works as it stands, but for the paths."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from job_equipment import Program
from support import FILE, REPO, finish
from test_metrics import READING
from verify_equipment import rot

from model_cache.cli.command import EXIT_CODES
from model_cache.metrics import collect

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "run-from-cron.md"
BLOCKS = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
COMMAND, ROOT, COLLECTED = "/opt/model-cache/bin/model-cache", "/srv/models", "/var/lib/node_exporter"
BIN = Path(sys.executable).parent


def units():
    """{file name: text} of the units on the page."""
    found = {}
    for block in BLOCKS:
        if path := re.match(r"# /etc/systemd/system/(\S+)\n", block):
            found[path[1]] = block
    return found


def crontab():
    """(settings, commands) of the crontab on the page."""
    (text,) = [block for block in BLOCKS if block.startswith("MAILTO=")]
    lines = text.splitlines()
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    return settings, [line.split(None, 5)[5] for line in lines if re.match(r"[\d*]", line)]


@pytest.fixture
def place(cache, hub, tmp_path):
    """A root with one file, and a directory for the node exporter beside it."""
    hub.add_repo(REPO, {FILE: bytes(30_000)})
    cache.fetch(REPO, FILE)
    (tmp_path / "collected").mkdir()
    return tmp_path


def here(text, place):
    """The text of the page with the paths of this test."""
    command = shlex.join([sys.executable, "-m", "model_cache"])
    return text.replace(COMMAND, command).replace(ROOT, str(place / "cache")).replace(COLLECTED, f"{place}/collected")


def run(command, environ):
    """(exit code, everything that is printed) of a line that a shell is given."""
    done = subprocess.run(
        ["sh", "-c", command],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def damage(cache):
    """One bit less, of a file whose turn it is tonight."""
    rot(cache.path(REPO, FILE))
    with cache._ctx.index.transaction("test:due") as index:
        index.execute("UPDATE entries SET verified_at = 1")


def setting(unit, name):
    """The values of a setting of a unit, in their order."""
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_against_the_units(tmp_path):
    """`systemd-analyze verify` accepts both, and knows every setting in them."""
    found = units()
    assert sorted(found) == ["model-cache-verify.service", "model-cache-verify.timer"]
    for name, text in found.items():
        (tmp_path / name).write_text(text.replace(COMMAND, shutil.which("true")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in found)],
        env={**os.environ, "SYSTEMD_LOG_TARGET": "console"},
        capture_output=True,
        text=True,
    )
    # It tells of other units of this machine too.
    assert [line for line in done.stderr.splitlines() if "model-cache" in line] == []
    assert done.returncode == 0, done.stderr


def service_environ(environ, place):
    """What systemd gives the service: no HOME of anybody's, and what the unit says."""
    values = dict(
        pair.split("=", 1) for pair in setting(here(units()["model-cache-verify.service"], place), "Environment")
    )
    return {"PATH": environ["PATH"], "PYTHONWARNINGS": "error", **values}


def test_the_service_is_silent_while_all_is_well(place, environ):
    """All commands end with 0 and only gc says what it did, and the metrics are there for everybody."""
    unit = here(units()["model-cache-verify.service"], place)
    environ = service_environ(environ, place)
    evicting, verifying = setting(unit, "ExecStart")
    code, told = run(evicting.removeprefix("-"), environ)
    assert (code, told.startswith("freed 0 B (0 files), leaving ")) == (0, True)  # for the journal
    (after,) = setting(unit, "ExecStopPost")
    assert run(verifying, environ) == run(after, environ) == (0, "")
    (written,) = (place / "collected").iterdir()
    assert written.suffix == ".prom"
    assert written.stat().st_mode & 0o777 == 0o644
    assert "model_cache_last_verify_success_timestamp_seconds{" in written.read_text()


def test_the_service_fails_when_damage_remains(place, cache, environ):
    """3 is no success of the unit; the metrics, which systemd writes all the same, tell of it."""
    damage(cache)
    unit = here(units()["model-cache-verify.service"], place)
    successes = {0, *(int(code) for code in setting(unit, "SuccessExitStatus"))}
    assert (successes <= EXIT_CODES.keys(), 3 in successes, 4 in successes) == (True, False, True)
    (_, command), (after,) = setting(unit, "ExecStart"), setting(unit, "ExecStopPost")
    assert run(command, service_environ(environ, place)) == (3, f"{cache.path(REPO, FILE)}\n")
    assert run(after, service_environ(environ, place)) == (0, "")
    (written,) = (place / "collected").iterdir()
    assert re.search(r'^model_cache_failed_files\{reason="corrupt",.*\} 1$', written.read_text(), re.MULTILINE)


def test_without_a_root_the_service_fails(place, cache, environ):
    """A disk that is not mounted is no empty cache that passes; nothing is made."""
    shutil.rmtree(cache.root)
    unit = here(units()["model-cache-verify.service"], place)
    for command in setting(unit, "ExecStart") + setting(unit, "ExecStopPost"):
        code, out = run(command.removeprefix("-"), service_environ(environ, place))
        assert (code, out.splitlines()[0]) == (1, f"error: no cache at {cache.root} (from MODEL_CACHE_DIR)")
    assert os.listdir(place / "collected") == []
    assert not cache.root.exists()


def cron_environ(place, environ):
    """What cron gives a command: the settings of the crontab, not expanded, and HOME."""
    settings, _ = crontab()
    assert "$" not in "".join(settings.values())
    path = settings["PATH"].replace(str(Path(COMMAND).parent), str(BIN))
    return {"HOME": environ["HOME"], "PATH": path, "MODEL_CACHE_DIR": here(settings["MODEL_CACHE_DIR"], place)}


@pytest.mark.skipif(not (BIN / "model-cache").exists(), reason="needs the command beside the interpreter")
def test_cron_mails_only_what_is_wrong(place, cache, environ):
    """Not a word while all is well; the path of a file that is damaged; one error where there is no root."""
    _, commands = crontab()
    assert all("%" not in command for command in commands)  # to cron a line feed
    evicting, nightly, often = [here(command, place) for command in commands]
    environ = cron_environ(place, environ)
    assert run(evicting, environ) == run(nightly, environ) == run(often, environ) == (0, "")
    damage(cache)
    assert run(nightly, environ)[1] == f"{cache.path(REPO, FILE)}\n"
    assert run(often, environ) == (0, "")
    assert 'reason="corrupt"' in next((place / "collected").iterdir()).read_text()
    shutil.rmtree(cache.root)
    assert run(nightly, environ)[1].count("error: no cache at") == 2
    assert run(evicting, environ)[1].count("error: no cache at") == 1
    assert not cache.root.exists()


HOLD = """
from model_cache.progress import Progress
class Hold(Progress):
    def verified(self, path, verdict):
        print("verifying", flush=True)
        sys.stdin.read()
print(cache.verify(jobs=1, progress=Hold()).exit_code(strict=False))
"""
EVICT = """
def step(name):
    if name == "evict:rename":
        print("evicting", flush=True)
        sys.stdin.read()
print(len(ModelCache(arguments["root"], step=step, min_idle="0s").gc(max_size=0).evicted))
"""


@pytest.mark.skipif(not (BIN / "model-cache").exists(), reason="needs the command beside the interpreter")
def test_the_lines_of_cron_are_silent_while_others_run(place, cache, environ, spawn):
    """A verify meets another and gives way, a gc does not wait for it: nothing is printed, and the first ends as it should."""
    evicting, nightly, _ = [here(command, place) for command in crontab()[1]]
    holder = spawn(HOLD)
    assert holder.stdout.readline() == "verifying\n"
    environ = cron_environ(place, environ)
    assert run(nightly, environ) == run(evicting, environ) == (0, "")
    told = run(nightly.replace(" --skip-if-busy", ""), environ)[1]
    assert f"is under way, by {holder.pid}@" in told
    assert finish(holder) == "0"


@pytest.mark.skipif(not (BIN / "model-cache").exists(), reason="needs the command beside the interpreter")
def test_an_eviction_under_way_is_no_trouble_for_cron(place, cache, environ, spawn):
    """While a gc has not ended a verify finds no damage in what goes, and another gc waits for it; both are silent."""
    evicting, nightly, _ = [here(command, place) for command in crontab()[1]]
    holder = spawn(EVICT)
    assert holder.stdout.readline() == "evicting\n"
    environ = cron_environ(place, environ)
    assert run(nightly, environ) == (0, "")
    second = Program(["sh", "-c", evicting], env=environ)
    assert finish(holder) == "1"
    assert (second.process.wait(120), second.output) == (0, "")
    second.kill()
    assert not cache.path(REPO, FILE).exists()
    assert run(nightly, environ) == (0, "")


def rules():
    """{alert: expression} of the rules on the page."""
    (text,) = [block for block in BLOCKS if block.startswith("groups:")]
    (group,) = yaml.safe_load(text)["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def test_every_alert_is_on_metrics_that_there_are():
    """Each name in a rule is one that `metrics` prints, with the labels that the rule uses; the other is the exporter's."""
    known = {
        metric.name: {label for sample in metric.samples for label in sample.labels} for metric in collect(READING)
    }
    known["node_textfile_mtime_seconds"] = {"file"}
    for alert, expression in rules().items():
        names = re.findall(r"\b((?:model_cache|node)_[a-z_]+)(?:\{([a-z]+)[!=]~?\")?", expression)
        assert names, alert
        for name, label in names:
            assert name in known, f"{alert}: {name}"
            assert not label or label in known[name], f"{alert}: {name} has no {label}"


def test_the_page_tells_only_of_alerts_that_there_are():
    """Each alert that is named below the rules is one of them."""
    told = set(re.findall(r"`(ModelCache\w+)`", PAGE.read_text(encoding="utf-8")))
    assert told <= set(rules())
