"""Bring the models of the examples before they are needed: in an image's build, or before the network goes.

    python examples/download_models.py              # all
    python examples/download_models.py detection    # of one category
    python examples/download_models.py --dry-run    # only say what is there

For each file it says `cached` or `download`, before anything is downloaded. Exit codes are those of `model-cache fetch`.
"""

from __future__ import annotations

import argparse
import sys

from models import MODELS, run

from model_cache import ModelCache

CATEGORIES = list(dict.fromkeys(model.category for model in MODELS))


def wanted(categories: list[str]) -> list[tuple[str, str, str]]:
    """(category, repo, filename) of each file, in the order of the table; of all categories if none is named."""
    return [
        (model.category, model.repo, filename)
        for model in MODELS
        if not categories or model.category in categories
        for filename in model.files
    ]


def category(text: str) -> str:
    """A category as it was typed."""
    if text not in CATEGORIES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {' or '.join(CATEGORIES)}")
    return text


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Download the models of the examples where they are missing.")
    parser.add_argument("categories", nargs="*", type=category, metavar="CATEGORY", help=" or ".join(CATEGORIES))
    parser.add_argument("--dry-run", action="store_true", help="download nothing")
    given = parser.parse_args()
    cache = ModelCache()
    files = wanted(given.categories)
    missing = [name for name in files if not cache.is_cached(*name[1:])]
    for name in files:
        state = "download" if name in missing else "cached"
        print(f"{state:8}  {name[0]:12}  {' '.join(name[1:])}")
    total = f"{len(files)} file{'s' if len(files) > 1 else ''}"
    print(f"{total}: {len(files) - len(missing)} cached, {len(missing)} to download", flush=True)
    if given.dry_run:
        return 0
    for _, repo, filename in missing:
        print(f"downloading {repo} {filename}", file=sys.stderr, flush=True)
        cache.fetch(repo, filename)
    size = sum(cache.path(repo, filename).stat().st_size for _, repo, filename in files)
    print(f"{total} in the cache, {size / 1e6:.2f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
