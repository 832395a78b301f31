"""`python -m model_cache` is the command `model-cache`."""

from model_cache.cli import main

if __name__ == "__main__":
    main()
