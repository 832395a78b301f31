"""The documentation is true: its code runs, its output is what comes out, its links lead somewhere, nothing is left out."""

import inspect
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import picture_graphs
import pytest

import model_cache
from model_cache import errors, metrics, settings
from model_cache.cli.command import EXIT_CODES
from model_cache.cli.group import group
from model_cache.index.rows import Row
from model_cache.index.schema import _TRIED as TRIED
from model_cache.report.history import CAME, WENT
from model_cache.testing.faults import KINDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [
    *DOCS,
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "stress/README.md")),
]
REFERENCE = ROOT / "docs" / "reference"
TUTORIAL = ROOT / "docs" / "tutorial.md"

# What the loopback hub serves under the names that the docs use.
REPOS = {
    "openai-community/gpt2": {"config.json": b'{"model_type": "gpt2"}\n', "model.safetensors": bytes(3_000_000)},
    "facebook/sam2.1-hiera-tiny": {"sam2.1_hiera_tiny.encoder.onnx": bytes(2_000_000)},
}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# The order of steps, and what a crash before each leaves: (page, heading) of every part of each.
STEP_TABLES = {
    "order": [
        ("design.md", "A miss"),
        ("design.md", "A whole repo"),
        ("eviction.md", "The order of an eviction"),
        ("eviction.md", "Who goes first"),
        ("integrity.md", "The order of a verify"),
        ("integrity.md", "The order of a repair"),
        ("integrity.md", "The order of a census"),
        ("integrity.md", "The order of a sync"),
        ("integrity.md", "The index's backups"),
    ],
    "crash": [
        ("design.md", "What a crash leaves"),
        ("eviction.md", "What a crash in it leaves"),
        ("integrity.md", "What a crash in it leaves"),
    ],
}
SHARED = {"--root", "--json", "--quiet", "--help"}  # of every command; they have a section of their own
MARK = "@@end of command"


def name_of(page):
    """The page as a test id."""
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """(line, language, text) of each fenced block, its indentation taken away."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        lines = [line[len(found[1]) :] for line in found[3].splitlines()]
        yield text.count("\n", 0, found.start()) + 1, found[2], "\n".join(lines) + "\n"


def without_code(page):
    """The prose of a page."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands_of(text):
    """(command, expected output) of each `$ ` line of a console block."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], []])
        else:
            assert found, f"output before the first command: {line!r}"
            found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def plan(page, place):
    """What running a page means: (line, command, expected output or None), the Python blocks written to files in `place`."""
    steps = []
    for line, language, text in blocks(page):
        if language == "console":
            steps += [(line, command, output) for command, output in commands_of(text)]
        elif language == "python":
            file = place / f"block_{line}.py"
            file.write_text(text, encoding="utf-8")
            program = "python -m pytest -q -p no:cacheprovider" if "\ndef test_" in text else "python"
            steps.append((line, f"{program} {shlex.quote(str(file))}", None))
    return steps


def script(steps):
    """One shell for the whole page, so that later blocks see what earlier ones set; a mark ends each command's output."""
    lines = []
    for _, command, _ in steps:
        # The status is handed on: a page may show `echo $?`.
        lines += [command, f'__status=$?; printf "%s %d\\n" "{MARK}" "$__status"; (exit "$__status")']
    return "\n".join(lines) + "\n"


def goes_on(page):
    """Whether the page is to be tried where the tutorial was."""
    return "shell of the [tutorial](" in page.read_text(encoding="utf-8")


def before(page, hub, work):
    """(steps that a reader has done before, variables): a page that goes on from the tutorial has its hub, and no other."""
    if goes_on(page):
        done = sections(TUTORIAL)
        shown = (FENCE.search(done[heading])[3] for heading in ("1. A Hub of your own", "2. Fetch"))
        return [(0, command, None) for text in shown for command, _ in commands_of(text)], {}
    repos = REPOS
    if "python examples/" in page.read_text(encoding="utf-8"):
        (work / "examples").symlink_to(ROOT / "examples")
        repos = REPOS | picture_graphs.repos()
    for repo, files in repos.items():
        hub.add_repo(repo, files)
    return [], {"HF_ENDPOINT": hub.url, "MODEL_CACHE_DIR": str(work / "cache")}


def run(page, hub, place):
    """(output, exit status) of each step of a page, in a shell that has nothing of the developer's."""
    work, home, code = place / "work", place / "home", place / "code"
    for directory in (work, home, code):
        directory.mkdir()
    done, variables = before(page, hub, work)
    steps = [*done, *plan(page, code)]
    if goes_on(page):
        steps.append((0, "env | grep -oE '^(HF|MODEL_CACHE)_[A-Z_]*' | sort", "HF_ENDPOINT\nMODEL_CACHE_DIR"))
    environ = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        **variables,
    }
    ran = subprocess.run(
        ["bash", "-c", script(steps)],
        cwd=work,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    outputs = re.findall(rf"(.*?){MARK} (\d+)\n", ran.stdout, re.DOTALL)
    assert len(outputs) == len(steps), f"the shell stopped early:\n{ran.stdout}"
    return [(step, output, int(status)) for step, (output, status) in zip(steps, outputs, strict=True)]


def matches(expected, output):
    """Whether the output is the one shown: `…` stands for anything on a line, and runs of spaces for each other."""

    def folded(text):
        return "\n".join(re.sub(r" {2,}", "  ", line).rstrip() for line in text.strip("\n").splitlines())

    # Columns are as wide as what `…` stands for, so the space after one can be of any width.
    pattern = re.escape(folded(expected)).replace("…", r"[^\n]*").replace(r"\ \ ", r"\ +")
    return re.fullmatch(pattern, folded(output)) is not None


def ends_as_it_should(steps, number, status):
    """A failure is right only where the page shows it: in the next line, or in the same one."""
    following = steps[number + 1][1] if number + 1 < len(steps) else ""
    return status == 0 or following.startswith("echo $?")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b[1] in ("console", "python") for b in blocks(page))], ids=name_of
)
def test_what_a_page_shows_is_what_happens(page, hub, tmp_path):
    """Each `python` block runs, and each command of a `console` block prints what stands below it."""
    results = run(page, hub, tmp_path)
    steps = [step for step, _, _ in results]
    for number, ((line, command, expected), output, status) in enumerate(results):
        where = f"{name_of(page)}, block of line {line}: {command}\n"
        assert ends_as_it_should(steps, number, status), f"{where}ended with {status}:\n{output}"
        if expected is not None:
            assert matches(expected, output), f"{where}--- shown\n{expected}\n--- came\n{output}"


def test_pages_can_be_tried_one_after_the_other_in_one_shell():
    """A page that goes on from the tutorial makes roots that no other has; what else it sets is taken back at its end."""
    made = {page: set(re.findall(r"MODEL_CACHE_DIR=\$PWD/([\w-]+)", page.read_text("utf-8"))) for page in DOCS}
    going_on = [page for page in DOCS if goes_on(page)]
    assert all(made[page] or "$ model-cache --root" in page.read_text("utf-8") for page in going_on)
    roots = [root for page in (TUTORIAL, *going_on) for root in made[page]]
    assert sorted(set(roots)) == sorted(roots)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    """A fence is `python` or `console`, which run, or `text`, which cannot; so nothing is left out by a misspelling."""
    assert {language for _, language, _ in blocks(page)} <= {"python", "console", "text"}
    assert without_code(page).count("```") == 0


def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    """A relative link names a file of the repository, and its anchor a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(ROOT) and there.exists(), f"{name_of(page)}: {target} is not there"
        assert not anchor or anchor in anchors(there), f"{name_of(page)}: {target} has no such heading"


def test_the_map_of_the_source_has_every_module():
    """The first column of the map for contributors names each module and package of the source, and no other."""
    lines = sections(ROOT / "CONTRIBUTING.md")["Where things are"].splitlines()
    named = set(re.findall(r"`([a-z_]+/?)`", " ".join(line.split("|")[1] for line in lines if line.startswith("| `"))))
    source = ROOT / "src" / "model_cache"
    modules = {path.stem for path in source.glob("[!_]*.py")} | {
        f"{path.parent.name}/" for path in source.glob("*/__init__.py")
    }
    assert named - {"examples/", "src/"} == modules


def test_every_page_is_found_from_the_index():
    """docs/index.md links to every page of the docs."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index.read_text("utf-8"))}
    assert set(DOCS) - {index} <= linked


def sections(page):
    """{heading: text below it} for the second level."""
    parts = re.split(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading.strip("` "): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def options_of(command):
    """{long name: all names} of a command's options."""
    ctx = click.Context(command)
    found = [parameter.opts for parameter in command.get_params(ctx) if isinstance(parameter, click.Option)]
    return {next(name for name in names if name.startswith("--")): names for names in found}


def test_every_command_and_option_is_in_the_reference():
    """Each command has a section that has each option of its own; what all have in common stands in one place."""
    found = sections(REFERENCE / "command.md")
    ctx = click.Context(group)
    for command_name in group.list_commands(ctx):
        command = group.get_command(ctx, command_name)
        assert command_name in found, f"no section on {command_name}"
        for option, names in options_of(command).items():
            text = found["Every command" if option in SHARED else command_name]
            assert all(f"`{name}" in text for name in names), f"{command_name} {option} is not documented"


def test_the_reference_has_no_option_that_is_not_there():
    """Each option that stands in a command's section is one of that command."""
    ctx = click.Context(group)
    for command_name, text in sections(REFERENCE / "command.md").items():
        if command_name in group.list_commands(ctx):
            known = set(options_of(group.get_command(ctx, command_name))) | {"--version"}
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known, command_name


def test_the_reference_has_no_command_that_is_not_there():
    """The command page has a section on each command, a line of the first table that leads to it, and no others."""
    page = REFERENCE / "command.md"
    commands = group.list_commands(click.Context(group))
    assert sorted(sections(page)) == sorted([*commands, "Every command"])
    table = page.read_text(encoding="utf-8").split("\n## ")[0]
    assert sorted(re.findall(r"\[`([a-z-]+)`\]\(#\1\)", table)) == sorted(commands)


def test_the_help_texts_are_those_of_the_command():
    """The page of help texts has what each `--help` prints; `python docs/site/help_page.py` writes it anew."""
    made = runpy.run_path(str(ROOT / "docs" / "site" / "help_page.py"))["page"]()
    assert (REFERENCE / "help.md").read_text(encoding="utf-8") == made
    assert r"\b" not in made, "a mark that was meant for click is shown to the reader"


def test_every_policy_key_and_variable_is_in_the_reference():
    """The configuration page has each policy key, and each variable that is read."""
    text = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    assert [key for key in settings.KEYS if f"| `{key}` |" not in text] == []
    assert [name for name in settings.VARIABLES if f"`{name}`" not in text and f"${name}" not in text] == []


def test_every_public_name_is_in_the_reference():
    """The Python page names everything that `model_cache` exports."""
    text = (REFERENCE / "python.md").read_text(encoding="utf-8")
    assert [name for name in model_cache.__all__ if f"`{name}" not in text] == []


def test_the_api_page_has_the_docstring_of_every_public_name():
    """It asks for the docstring of each name that `model_cache` exports, once, and of no other; all have one."""
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: model_cache\.(\w+)$", text, re.MULTILINE)) == sorted(model_cache.__all__)
    public = [getattr(model_cache, name) for name in model_cache.__all__]
    public += [member for name, member in inspect.getmembers(model_cache.ModelCache) if not name.startswith("_")]
    assert [member for member in public if not inspect.getdoc(member)] == []


def test_the_api_page_says_what_is_awaited():
    """It names the methods that `AsyncModelCache` takes over as they are."""
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    own = vars(model_cache.AsyncModelCache)
    taken = {name for name, value in own.items() if not name.startswith("_") and hasattr(value, "__wrapped__")}
    assert len(taken) > 10
    (sentence,) = re.findall(r"and are awaited: (.*?)\.$", text, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == taken


def test_every_error_stands_beside_its_exit_code():
    """The table of errors has each class with the code that the command gives it."""
    text = (REFERENCE / "errors-and-exit-codes.md").read_text(encoding="utf-8")
    family = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ModelCacheError)
    ]
    for kind in family:
        (row,) = re.findall(rf"^\| `{kind.__name__}` \|.*$", text, re.MULTILINE)
        assert row.split("|")[3].strip() == str(kind.exit_code), row


def test_every_exit_code_is_in_the_reference():
    """The command page has each exit code, and no other."""
    text = sections(REFERENCE / "command.md")["Every command"]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(EXIT_CODES)


def rows_of(text):
    """{first cell: all cells} of the rows of tables that begin with one name in code."""
    cells = [
        [cell.strip() for cell in row.strip("| ").split("|")] for row in re.findall(r"^\| `.*$", text, re.MULTILINE)
    ]
    return {row[0].strip("`"): row for row in cells}


class Counted(dict):
    """Counters of an index; which kinds were asked for is noted."""

    def __init__(self):
        self.asked = set()

    def get(self, kind, default=None):
        """One of each."""
        self.asked.add(kind)
        return (1, 1)


def everything(counters):
    """The metrics of a root of which everything is known."""
    runs = dict.fromkeys(("verify", "verify_success", "gc"), 1.0)
    recorded = metrics.Recorded({}, 0, runs, {}, 1.0, 0, counters, {("model", "gpt2"): (1, 1)})
    return metrics.collect(metrics.Reading("/models", "0", 1, 1, 1, recorded))


def test_every_metric_is_in_the_reference():
    """The page on metrics has the name, type and labels of each, and no other."""
    rows = rows_of((REFERENCE / "metrics.md").read_text(encoding="utf-8"))
    shown = {
        name: (row[1], set(re.findall(r"`(\w+)`", row[2]))) for name, row in rows.items() if name != "model_cache_…"
    }
    made = {
        metric.name.removeprefix("model_cache_"): (metric.type, set(metric.samples[0].labels) - {"root"})
        for metric in everything(Counted())
    }
    assert shown == made


def test_every_kind_of_event_is_in_the_reference():
    """The page on events has each kind that is counted or drawn, what leaves usage as it was, and no other."""
    tables = (REFERENCE / "events.md").read_text(encoding="utf-8").split("| `kind` | noted when")
    counters = Counted()
    everything(counters)
    assert set(rows_of(tables[1])) == {*CAME, *WENT, *counters.asked, "link", "gc"}
    shown = re.findall(r"`(\w+)`", "".join(row[0] for row in re.findall(r"^(\|[^|]*\|)(.*)$", tables[0], re.MULTILINE)))
    assert shown == ["id", *TRIED["events"].split(", ")]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=name_of)
def test_a_decision_says_what_it_costs(page):
    """Each decision has a number, what was decided, why, what it costs, and what would change it, in this order."""
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    parts = ["Decision", "Why", "It costs", "What would change it"]
    assert re.findall(r"^\*\*([A-Z][\w ]+)\.\*\*", text, re.MULTILINE) == parts


def test_every_column_of_the_index_is_in_the_reference():
    """The on-disk format has each column of the table of entries."""
    text = (REFERENCE / "on-disk-format.md").read_text(encoding="utf-8")
    assert [column for column in Row._fields if f"`{column}`" not in text] == []


def steps_in(sources):
    """The names that the code passes to the failure points."""
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    return set(re.findall(r"(?:(?:step|transaction)\(|_pages\(\w+, )\"([a-z-]+:[a-z-]+)\"", text))


@pytest.mark.parametrize("table", STEP_TABLES)
def test_every_named_step_is_in_the_crash_table(table):
    """The pages on the design say of each step where it is in the order, and what a crash before it leaves; no other."""
    sources = set((ROOT / "src" / "model_cache").rglob("*.py"))
    assert len(steps_in(sources)) > 20
    shown = set()
    for page, heading in STEP_TABLES[table]:
        text = sections(ROOT / "docs" / "explanation" / page)[heading]
        shown |= set(re.findall(r"`([a-z]+:[a-z-]+)`", text))
    assert steps_in(sources) - shown == set()
    assert shown - steps_in(sources) == set()


def test_every_fault_of_the_loopback_hub_is_in_the_docs():
    """The page on testing has each kind of fault and what requests it is for."""
    text = (ROOT / "docs" / "how-to" / "test-your-code.md").read_text(encoding="utf-8")
    for kind, (on, _) in KINDS.items():
        assert re.search(rf"^\| `{kind}` \|.*\| {on} \|$", text, re.MULTILINE), kind
