"""The logger `model_cache`: silent unless the program that uses this package configures logging."""

import logging

logger = logging.getLogger("model_cache")
logger.addHandler(logging.NullHandler())
