"""What a release rests on: one version, bounds that hold, and workflows that may do no more than they need."""

import re
import sys
from importlib.metadata import version as installed
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from release.environments import project
from release.versions import SUPPORTED, says

import model_cache

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name):
    """A workflow as it is read; YAML takes the key `on` for a truth value."""
    found = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())
    found["on"] = found.pop(True)
    return found


@pytest.fixture(params=["ci", "release"])
def any_workflow(request):
    """Each of the workflows."""
    return workflow(request.param)


def steps(found):
    """The steps of all jobs."""
    return [step for job in found["jobs"].values() for step in job["steps"]]


def test_the_workflows_are_these():
    """There are two, and the tests below read both."""
    assert sorted(path.name for path in WORKFLOWS.iterdir()) == ["ci.yml", "release.yml"]


def test_ci_is_what_anybody_can_run():
    """It calls `.ci/run`, and nothing else, on every Python that is supported, for each change."""
    found = workflow("ci")
    assert [step["run"] for step in steps(found) if "run" in step] == [".ci/run"]
    assert tuple(found["jobs"]["suite"]["strategy"]["matrix"]["python"]) == SUPPORTED
    assert set(found["on"]) == {"push", "pull_request"}


def test_no_workflow_may_do_more_than_it_needs():
    """By default nothing but reading; only the job that publishes may ask for an identity, and runs no code of the repository."""
    assert workflow("ci")["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow("ci")["jobs"].values())
    release = workflow("release")
    assert release["permissions"] == {}
    assert {name: job["permissions"] for name, job in release["jobs"].items()} == {
        "build": {"contents": "read"},
        "publish": {"id-token": "write"},
    }
    assert [step["uses"].partition("@")[0] for step in release["jobs"]["publish"]["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_no_workflow_keeps_a_credential(any_workflow):
    """No step names a secret, a checkout leaves none behind, and every job ends."""
    for step in steps(any_workflow):
        assert "secrets." not in str(step), step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    assert all(job["timeout-minutes"] <= 90 for job in any_workflow["jobs"].values())


def test_every_action_is_of_one_release(any_workflow):
    """Each is named with all three numbers of its version."""
    used = [step["uses"] for step in steps(any_workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"(actions|pypa)/[a-z-]+@v\d+\.\d+\.\d+", name) for name in used), used


def test_a_release_publishes_what_was_built_once():
    """The files that `make dist` has tried are handed over; they are published from an environment, attested, for a tag."""
    release = workflow("release")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    build, publish = (release["jobs"][name] for name in ("build", "publish"))
    assert "make dist" in [step.get("run") for step in build["steps"]]
    (kept,) = (step["with"] for step in build["steps"] if "upload-artifact" in step.get("uses", ""))
    taken, published = (step["with"] for step in publish["steps"])
    assert publish["needs"] == "build"
    assert (kept["name"], kept["path"]) == (taken["name"], taken["path"]) == ("dist", "dist/")
    assert publish["environment"]["name"] == "pypi"
    assert published == {"attestations": True}


def test_the_version_stands_in_one_place():
    """The project takes it from `version.py`, what is installed has it, and the changelog has a section for it."""
    assert "version" in project()["dynamic"]
    assert "version" not in project()
    assert installed("model-cache") == model_cache.__version__
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", model_cache.__version__]


def test_what_is_installed_is_within_the_bounds():
    """Each requirement of the package and of the extras that users install has a lower bound, which what is tested keeps."""
    extras = project()["optional-dependencies"]
    for text in [*project()["dependencies"], *extras["s3"], *extras["postgres"]]:
        requirement = Requirement(text)
        assert [one.operator for one in requirement.specifier] == [">="], text
        assert requirement.specifier.contains(installed(requirement.name)), text
    # What the suite installs of them has the same bounds.
    assert {*extras["s3"], *extras["postgres"]} <= set(extras["test"])


def test_an_interpreter_is_taken_at_its_word():
    """Which Python one is, is what it says; something that does not start is none."""
    assert says(sys.executable) == "{}.{}".format(*sys.version_info)
    assert says("/bin/false") == ""
