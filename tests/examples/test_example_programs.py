"""The examples as programs: many at once download each file once, a second run needs no network, errors are one line."""

import download_models
import numpy as np
import picture_reference as reference
import pytest
from picture_equipment import EXAMPLES, FILES, NUMBERS, ended
from PIL import Image

# What one process of several says it found.
FINDS = """
import sys
import numpy as np
from detection import detect
from segmentation import mask_logits, segment, segment_panoptic
print("ready", flush=True)
sys.stdin.readline()
found = detect(sys.argv[1])
one = segment(sys.argv[1], (640, 280))
score, logits = mask_logits(sys.argv[1], (640, 280))
parts = segment_panoptic(sys.argv[1])
np.savez(
    sys.argv[2], boxes=[one.box for one in found], labels=[one.label for one in found], logits=logits,
    mask=one.mask, names=[part.label for part in parts], masks=[part.mask for part in parts],
)
"""


@pytest.mark.timeout(300)
def test_eight_cold_processes_download_each_file_once_and_find_the_same(served, root, run, scene, tmp_path):
    """Of 8 first calls of `detect` and `segment` at once, one body per file is sent, and all equal the reference (I2)."""
    picture = tmp_path / "beach.png"
    scene.save(picture)
    processes = [run("-c", FINDS, picture, tmp_path / f"{number}.npz") for number in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    with served.hold("onnx/model.onnx") as hold:
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        hold.wait_for(1, timeout=100)  # nobody has the first file before all were told to go
        hold.release()
        for process in processes:
            code, _, err = ended(process)
            assert code == 0, err
    assert {(repo, name): served.body_gets(name, repo) for repo, name in FILES} == dict.fromkeys(FILES, 1)
    boxes, (_, logits), regions = (
        reference.boxes(scene),
        reference.object_at(scene, (640, 280)),
        reference.regions(scene),
    )
    for number in range(8):
        with np.load(tmp_path / f"{number}.npz") as found:
            assert set(found["labels"]) == set(boxes)
            expected = np.array([boxes[label][1:] for label in found["labels"]])
            assert np.abs(found["boxes"] - expected).max() <= 1e-4
            assert np.abs(found["logits"] - logits).max() <= 1e-4
            assert np.mean(found["mask"] != (logits > 0)) <= 1e-4
            assert len(found["names"]) == len(regions)
            for name, mask in zip(found["names"], found["masks"], strict=True):
                assert np.mean(mask != regions[NUMBERS[name]][1]) <= 1e-4


def test_the_second_run_needs_no_network(served, root, run, scene, tmp_path):
    """What was fetched is found again by another process after the hub is gone, with the network switched off."""
    picture, output = tmp_path / "beach.png", tmp_path / "out.png"
    scene.save(picture)
    first = ended(run(EXAMPLES / "detection.py", picture))
    assert first[0] == 0 and "boat  0.98  480.0 150.0 688.5 372.0\n" in first[1]
    served.stop()
    assert ended(run(EXAMPLES / "detection.py", picture, output, HF_HUB_OFFLINE="1"))[:2] == first[:2]
    with Image.open(output) as image:
        assert image.size == scene.size
    code, out, err = ended(run(EXAMPLES / "segmentation.py", picture, HF_HUB_OFFLINE="1"))
    assert (code, out) == (10, "")
    assert "error: SharpAI/sam2-hiera-tiny-onnx encoder.onnx" in err and "Traceback" not in err


def test_what_is_no_picture_is_one_line_on_stderr(run, tmp_path):
    """A path without a picture ends with 1, one line that names it, and no traceback."""
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        code, out, err = ended(run(EXAMPLES / "segmentation.py", tmp_path / name))
        assert (code, out) == (1, "")
        assert err.splitlines()[-1].startswith("error: ") and name in err and "Traceback" not in err


def test_models_are_said_to_be_there_or_not_before_any_is_downloaded(served, root, run):
    """`download_models.py` prints `cached` or `download` and a total, then downloads what is missing, of a category or all."""
    script = EXAMPLES / "download_models.py"
    with served.hold("*") as hold:
        process = run(script, "detection")
        hold.wait_for(1)
        assert process.stdout.readline() == "download  detection     onnx-community/rtdetr_r50vd onnx/model.onnx\n"
        assert process.stdout.readline() == "1 file: 0 cached, 1 to download\n"
        hold.release()
        code, out, err = ended(process)
    assert (code, out) == (0, "") and err.splitlines()[-1].startswith("1 file in the cache, ")
    code, out, _ = ended(run(script, "--dry-run"))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["cached", *["download"] * 4, "5"]
    assert served.body_gets() == 1
    code, out, _ = ended(run(script))
    assert (code, out.splitlines()[-1]) == (0, "5 files: 1 cached, 4 to download")
    served.stop()
    code, out, _ = ended(run(script, HF_HUB_OFFLINE="1"))
    assert (code, out.splitlines()[-1]) == (0, "5 files: 5 cached, 0 to download")
    assert [(repo, name) for _, repo, name in download_models.wanted([])] == FILES


def test_the_download_script_ends_with_the_codes_of_the_command(served, run):
    """A category that does not exist is 2, a miss offline 10, a file that the Hub does not have 1; no traceback."""
    script = EXAMPLES / "download_models.py"
    code, _, err = ended(run(script, "faces"))
    assert code == 2 and "'faces': expected detection or segmentation" in err
    code, _, err = ended(run(script, HF_HUB_OFFLINE="1"))
    assert code == 10 and "hint: " in err and "Traceback" not in err
    served.add_repo("onnx-community/rtdetr_r50vd", {"config.json": b"{}"})
    code, _, err = ended(run(script, "detection"))
    assert code == 1 and "error: " in err and "Traceback" not in err
