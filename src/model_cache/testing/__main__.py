"""`python -m model_cache.testing FOLDER`: a loopback hub as a process."""

import sys

from .process import main

if __name__ == "__main__":
    sys.exit(main())
