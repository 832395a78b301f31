"""Where the examples are, what they need of the Hub, and how a program ended."""

from pathlib import Path

import models
import picture_scene

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FILES = [(model.repo, filename) for model in models.MODELS for filename in model.files]
# The numbers of the scene's things and stuff among DETR's classes.
NUMBERS = {name: row[1] for name, row in picture_scene.THINGS.items()}
NUMBERS |= {name: row[0] for name, row in picture_scene.STUFF.items()}


def ended(process):
    """(exit code, stdout, stderr) of a process."""
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err
