"""The page on cron, run by the real daemons: cron's own mails, and what the node exporter reads."""

import os
import re
import shutil
import subprocess
import urllib.request

import pytest
from job_equipment import Program, children, until
from prometheus_client.parser import text_string_to_metric_families
from support import FILE, REPO, finish
from test_cron import BIN, cron_environ, crontab, damage, here
from test_cron import place as place  # a fixture

# Cron in namespaces of its own: it sees one crontab, and none of this machine's; its /usr/sbin has the stand-in that keeps
# the mails, and its /run no trace of an earlier start, so that `@reboot` is now. All of it is bound over what is there.
APART = "unshare --mount --pid --fork --kill-child --mount-proc"
START = """
set -e
mount --bind "$1/sbin" /usr/sbin
mount --bind "$1/run" /run
mount --bind "$1/crontabs" /var/spool/cron/crontabs
mount --bind "$1/nothing" /etc/cron.d
mount --bind /dev/null /etc/crontab
exec /usr/sbin/cron -f
"""
SENDMAIL = """#!/bin/sh
cat > {mails}/.$$
mv {mails}/.$$ {mails}/$$
"""
CRON = "/usr/sbin/cron"


@pytest.fixture
def daemon(tmp_path):
    """Let the real cron run commands now, from a crontab with the settings of the page; the mails that it sent."""
    if shutil.which("unshare") is None or not os.access(CRON, os.X_OK):
        pytest.skip("needs cron and unshare")
    if os.geteuid() != 0 or subprocess.run([*APART.split(), "true"], capture_output=True).returncode:
        pytest.skip("makes namespaces, which needs root")
    world = tmp_path / "world"
    for name in ("sbin", "run", "crontabs", "nothing", "mails"):
        (world / name).mkdir(parents=True)
    shutil.copy(CRON, world / "sbin")
    (world / "sbin" / "sendmail").write_text(SENDMAIL.format(mails=world / "mails"))
    (world / "sbin" / "sendmail").chmod(0o755)
    started = []

    def run(settings, commands):
        for name in ("mails", "run"):
            shutil.rmtree(world / name)
            (world / name).mkdir()
        ended = [world / "run" / f"ended-{number}" for number in range(len(commands))]
        lines = [f"{name}={value}" for name, value in settings.items()]
        # What the page has in a line stays as it is, and only its time becomes now.
        lines += [f"@reboot {line}\n@reboot : > {mark}" for line, mark in zip(commands, ended, strict=True)]
        table = world / "crontabs" / "root"
        table.write_text("\n".join(lines) + "\n")
        table.chmod(0o600)
        program = Program([*APART.split(), "sh", "-c", START, "sh", str(world)])
        started.append(program)
        # The marks come when cron has started every line, and a line's mail is sent by the process that cron started for it.
        until(lambda: all(mark.exists() for mark in ended) or program.process.poll() is not None, "cron ran its lines")
        assert program.process.poll() is None, program.output
        (cron,) = children(program.process.pid)
        until(lambda: not children(cron), "cron's lines ended")
        program.kill()
        return [mail.read_text() for mail in (world / "mails").iterdir()]

    yield run
    for program in started:
        program.kill()


@pytest.mark.root
@pytest.mark.skipif(not (BIN / "model-cache").exists(), reason="needs the command beside the interpreter")
def test_the_real_cron_mails_only_what_is_wrong(place, cache, environ, daemon):
    """Cron runs the lines of the page as they stand: no mail while all is well, one of a damaged file, one per error."""
    settings, commands = crontab()
    evicting, nightly, often = [here(command, place) for command in commands]
    settings = {"MAILTO": settings["MAILTO"], **cron_environ(place, environ)}
    assert daemon(settings, [evicting, nightly, often]) == []
    (collected,) = (place / "collected").iterdir()
    assert "model_cache_last_verify_success_timestamp_seconds{" in collected.read_text()
    damage(cache)
    (mail,) = daemon(settings, [evicting, nightly, often])
    assert f"To: {settings['MAILTO']}\n" in mail
    assert mail.partition("\n\n")[2] == f"{cache.path(REPO, FILE)}\n"
    shutil.rmtree(cache.root)
    (mail,) = daemon(settings, [evicting])
    assert mail.partition("\n\n")[2].startswith(f"error: no cache at {cache.root} (from MODEL_CACHE_DIR)\n")
    assert not cache.root.exists()


@pytest.fixture
def exporter(place):
    """The address of a real node exporter that reads the textfiles and nothing else."""
    if shutil.which("prometheus-node-exporter") is None:
        pytest.skip("needs prometheus-node-exporter")
    options = ["--collector.disable-defaults", "--collector.textfile", "--web.listen-address=127.0.0.1:0"]
    program = Program(["prometheus-node-exporter", *options, f"--collector.textfile.directory={place}/collected"])
    (line, *_) = program.wait_for("address=127.0.0.1:")
    yield f"http://127.0.0.1:{re.search(r'address=127.0.0.1:([0-9]+)', line)[1]}/metrics"
    program.kill()


def scraped(url):
    """{metric: {labels: value}} of what the exporter serves."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        text = answer.read().decode()
    return {
        family.name: {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.skipif(not (BIN / "model-cache").exists(), reason="needs the command beside the interpreter")
def test_the_node_exporter_serves_what_was_written(place, cache, environ, exporter):
    """The real exporter has no error with the file, and serves the damage that the nightly line found."""
    damage(cache)
    _, nightly, _ = [here(command, place) for command in crontab()[1]]
    subprocess.run(["sh", "-c", nightly], env=cron_environ(place, environ), capture_output=True, timeout=120)
    served = scraped(exporter)
    assert served["node_textfile_scrape_error"] == {(): 0.0}
    assert served["model_cache_failed_files"][("reason", "corrupt"), ("root", str(cache.root))] == 1.0
    ((labels, _),) = served["node_textfile_mtime_seconds"].items()
    # The alert on the page that looks whether the file is old finds it by this.
    assert re.fullmatch(r".*model-cache[^/]*[.]prom", dict(labels)["file"])


def test_a_scrape_never_meets_half_a_file(place, cache, environ, exporter, spawn):
    """While the file is written again and again, each scrape has all metrics of one root and no error."""
    path = place / "collected" / "model-cache.prom"
    writer = spawn(
        """
        import threading
        from model_cache.cli import main
        over, number = threading.Event(), 0
        threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
        while not over.is_set():
            try:
                main(["metrics", "--root", arguments["root"], "--textfile", arguments["path"]])
            except SystemExit as end:
                assert not end.code, end.code
            number += 1
            print(number, flush=True)
        """,
        path=str(path),
    )
    assert writer.stdout.readline() == "1\n"
    names = {name for name in scraped(exporter) if name.startswith("model_cache_")}
    assert "model_cache_info" in names
    for _ in range(60):
        served = scraped(exporter)
        assert served["node_textfile_scrape_error"] == {(): 0.0}
        assert {name for name in served if name.startswith("model_cache_")} == names
        assert writer.stdout.readline()  # written once more for each of these, at least
    finish(writer)
