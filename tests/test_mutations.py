"""The list of mutations: each applies to the source of today, breaks an invariant of its own, and is in the README."""

from pathlib import Path

import pytest

from stress import mutations
from stress.mutations import MUTATIONS, Mutation

HOME = Path(mutations.__file__).resolve().parent.parent


def test_every_invariant_is_broken():
    """Ten invariants, in their order, and a mutation at least of each."""
    assert list(dict.fromkeys(mutation.invariant for mutation in MUTATIONS)) == [
        f"I{number}" for number in range(1, 11)
    ]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_mutation_changes_one_place_and_is_listed(mutation, tmp_path):
    """Its text stands in the module exactly once, what comes of it is Python, and the README names the proof."""
    mutations.copy(tmp_path)
    mutations.mutate(tmp_path, mutation)
    text = (tmp_path / "src" / "model_cache" / mutation.module).read_text()
    assert text != (HOME / "src" / "model_cache" / mutation.module).read_text()
    compile(text, mutation.module, "exec")
    row = f"| {mutation.invariant} | {mutation.what} (`{mutation.module}`) | `python {' '.join(mutation.proof)}` |"
    assert row in (HOME / "stress" / "README.md").read_text()


def test_a_mutation_that_does_not_apply_is_an_error(tmp_path):
    """A source that moved on is not taken for one that was mutated."""
    mutations.copy(tmp_path)
    with pytest.raises(LookupError):
        mutations.mutate(tmp_path, Mutation("I1", "", "hit.py", "there is no such text", "", ()))


def test_only_the_right_invariant_counts_as_caught():
    """A proof that fails for another reason, or passes, has not noticed."""
    mutation = MUTATIONS[0]
    assert mutations.is_caught(mutation, 1, "fetch at 3\n  I1: torn")
    assert not mutations.is_caught(mutation, 1, "fetch at 3\n  I10: torn")
    assert not mutations.is_caught(mutation, 0, "I1")
    assert not mutations.is_caught(mutation, 2, "I1: usage")
