"""The family of errors."""

import inspect
import pickle

import model_cache
from model_cache import errors


def test_every_error_survives_pickling_with_its_fields():
    """An error that crosses a process boundary keeps its class, message, hint and facts."""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        error = kind("what happened", hint="do this", needed=3)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.hint, again.needed) == (kind, "what happened", "do this", 3), name


def test_the_family_has_one_root_and_the_promised_kin():
    """Every error is a ModelCacheError; some are also what a caller of the standard library would catch."""
    assert issubclass(errors.OfflineMissError, FileNotFoundError)
    assert issubclass(errors.LockTimeoutError, TimeoutError)
    assert issubclass(errors.DownloadInProgressError, errors.LockTimeoutError)
    assert issubclass(errors.InvalidNameError, ValueError)
    assert issubclass(errors.FileTooLargeError, errors.CacheFullError)
    assert all(issubclass(kind, errors.ModelCacheError) for _, kind in inspect.getmembers(errors, inspect.isclass))


def test_every_error_can_be_imported_from_the_package():
    """Callers need no module but `model_cache` to catch what it raises."""
    assert {name for name, _ in inspect.getmembers(errors, inspect.isclass)} <= set(model_cache.__all__)


def test_a_download_under_way_tells_its_percentage():
    """Of a file of known size, rounded down; of an unknown size nobody can say."""
    told = [
        errors.DownloadInProgressError("", done=done, total=total).percent
        for done, total in ((1, 3), (3, 3), (7, None))
    ]
    assert told == [33, 100, None]
