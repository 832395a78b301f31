"""`config`: the policy of a root."""

import pytest
from cli_equipment import Shell

from model_cache.cli.config import text_of
from model_cache.settings import Settings


@pytest.fixture
def shell(environ, root):
    """The command, on a root that is not there."""
    return Shell(environ, root)


def test_every_key_with_its_value_and_source(shell, root):
    """Without arguments: a table of what holds, and where each value comes from."""
    out = shell.ok("config", environ={"MODEL_CACHE_MAX_SIZE": "50GB", "HF_ENDPOINT": "http://127.0.0.1:1"})
    assert out.splitlines() == [
        "KEY             VALUE               FROM",
        "max_size        50GB                MODEL_CACHE_MAX_SIZE",
        "min_free        off                 default",
        "max_age         off                 default",
        "min_idle        10m                 default",
        "touch_interval  1m                  default",
        "lock_timeout    10m                 default",
        "connections     4                   default",
        "sharing         private             default",
        "endpoint        http://127.0.0.1:1  HF_ENDPOINT",
        "lower           off                 default",
        "state_dir       off                 default",
        "evictor         off                 default",
        "evict_untested  off                 default",
        "share_gated     off                 default",
        "tier            off                 default",
        "lead            off                 default",
    ]
    assert not root.exists()


@pytest.mark.parametrize(
    ("given", "printed", "value"),
    [
        ("max_size=50GB", "50GB", 50 * 10**9),
        ("max_size=50GiB", "50GiB", 50 * 2**30),
        ("max_size=1.5TB", "1500GB", 1500 * 10**9),
        ("max_size=80%", "80%", 0.8),
        ("max_age=8w", "8w", 56 * 86400.0),
        ("min_idle=90s", "90s", 90.0),
        ("touch_interval=0.5", "0.5s", 0.5),
        ("connections=8", "8", 8),
        ("state_dir=/var/lib/models/", "/var/lib/models", "/var/lib/models"),
        ("evictor=storage-1.example", "storage-1.example", "storage-1.example"),
    ],
)
def test_what_was_set_is_what_holds(shell, root, given, printed, value):
    """A value is shown as it could be given again, exactly."""
    key = given.partition("=")[0]
    policy = root / ".model-cache" / "config.toml"
    assert shell.run("config", given) == (0, "", f"{key} is now {printed} (from {key} in {policy})\n")
    settings = Settings({}, root=root)
    assert getattr(settings, key) == value
    assert text_of(settings, key) == printed


def test_bytes_without_a_unit_are_explained(shell, root):
    """Whoever forgot the unit sees what was understood; what is off says so."""
    policy = root / ".model-cache" / "config.toml"
    assert shell.ok("config", "max_size") == "off\n"
    for number, size in ((50, "50 B"), (12345, "12.3 kB")):
        err = shell.run("config", f"max_size={number}")[2]
        assert err == f"max_size is now {number}, which is {size} (from max_size in {policy})\n"
        assert shell.ok("config", "max_size") == f"{number}\n"


def test_values_are_numbers_in_json(shell, root):
    """--json has bytes and seconds; a share of the file system is text."""
    policy = root / ".model-cache" / "config.toml"
    place = {"root": str(root), "policy_file": str(policy)}
    source = {"source": f"max_size in {policy}"}
    assert shell.json("config", "max_size=1GB") == {**place, "key": "max_size", "value": 10**9, **source}
    assert shell.json("config", "max_size=80%")["value"] == "80%"
    document = shell.json("config")
    assert document["keys"]["max_size"] == {"value": "80%", **source}
    assert document["keys"]["min_idle"] == {"value": 600.0, "source": "default"}
    assert shell.ok("config", "max_size") == "80%\n"


def test_a_key_can_be_set_changed_and_unset(shell, root):
    """Setting says what holds now; other keys and what somebody wrote beside them stay."""
    policy = root / ".model-cache" / "config.toml"
    assert shell.run("config", "min_idle=20m") == (0, "", f"min_idle is now 20m (from min_idle in {policy})\n")
    policy.write_text("# ours\n" + policy.read_text())
    assert shell.run("config", "max_size=1GB", "-q") == (0, "", "")
    assert shell.run("config", "min_idle=")[2] == "min_idle is now 10m (from default)\n"
    assert policy.read_text() == '# ours\nmax_size = "1GB"\n'
    code, _, err = shell.run("config", "max_size=2GB", environ={"MODEL_CACHE_MAX_SIZE": "3GB"})
    assert (code, err) == (
        0,
        "warning: MODEL_CACHE_MAX_SIZE is set here and beats the policy file\n"
        "max_size is now 3GB (from MODEL_CACHE_MAX_SIZE)\n",
    )


def test_a_group_root_is_made_for_the_group(shell, root):
    """The very first thing said about a root may be that a group shares it."""
    shell.ok("config", "sharing=group")
    assert root.stat().st_mode & 0o7777 == 0o2775
    assert (root / ".model-cache").stat().st_mode & 0o7777 == 0o2775
    assert (root / ".model-cache" / "config.toml").stat().st_mode & 0o777 == 0o664


def test_writers_at_once_lose_no_key(shell, root):
    """Eight writers of eight keys leave a policy with all of them."""
    keys = ["max_size=1GB", "min_free=1GB", "max_age=1d", "min_idle=1m", "touch_interval=1m", "lock_timeout=1m"]
    keys += ["connections=2", "endpoint=http://127.0.0.1:1"]
    processes = [shell.start("config", key) for key in keys]
    for process in processes:
        assert process.communicate(timeout=60)[0] == "" and process.returncode == 0
    written = (root / ".model-cache" / "config.toml").read_text().splitlines()
    assert sorted(line.split(" = ")[0] for line in written) == sorted(key.split("=")[0] for key in keys)


def test_a_wrong_value_in_the_file_can_be_mended(shell, root):
    """What stops every other command does not stop the one that sets it right."""
    shell.ok("config", "min_free=1GB")
    policy = root / ".model-cache" / "config.toml"
    policy.write_text('min_free = "lots"\nmax_age = "never"\n')
    assert shell.run("config")[0] == 2
    code, _, err = shell.run("config", "min_free=2GB")
    assert (code, err) == (
        0,
        f"warning: another key is still wrong: max_age in {policy}: expected a duration such as 45s, 10m, 6h or 30d,"
        " found 'never'\n",
    )
    assert shell.run("config", "max_age=")[0] == 0
    assert shell.ok("config", "min_free") == "2GB\n"


def test_a_file_with_other_structure_is_left_alone(shell, root):
    """A key cannot be appended below a table: then a person has to."""
    shell.ok("config", "min_free=1GB")
    policy = root / ".model-cache" / "config.toml"
    policy.write_text("[mine]\nx = 1\n")
    code, out, err = shell.run("config", "min_free=2GB")
    assert (code, out) == (1, "")
    assert err.splitlines()[1] == "hint: set min_free in it with an editor"
    assert policy.read_text() == "[mine]\nx = 1\n"


def test_a_name_that_nobody_reads_is_said(environ, root):
    """A key of the policy or a variable that is misspelt is no error, and `config` and `doctor` say that it has no effect."""
    shell = Shell(environ | {"MODEL_CACHE_MAX_SISE": "3GB", "MODEL_CACHE_DEBUG": "0"}, root)
    shell.ok("config", "min_free=1MB")
    policy = root / ".model-cache/config.toml"
    policy.write_text(policy.read_text() + 'colour = "red"\n')
    variable = (
        "MODEL_CACHE_MAX_SISE in the environment has no effect: no setting has that name (is it MODEL_CACHE_MAX_SIZE?)"
    )
    key = f"colour in {policy} has no effect: no setting has that name"
    code, out, err = shell.run("config")
    assert (code, err) == (0, f"warning: {variable}\nwarning: {key}\n")
    assert "colour" not in out
    found = [check for check in shell.json("doctor")["checks"] if check["name"] == "settings"]
    assert [(check["status"], check["detail"]) for check in found] == [("warn", variable), ("warn", key)]
