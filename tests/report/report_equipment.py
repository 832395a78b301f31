"""Facts of a cache that was never on a disk, and a page taken apart."""

from html.parser import HTMLParser

from model_cache.report import Event, Facts, File, Verified

NOW, DAY = 1_790_000_000.0, 86400.0
VOID = {"meta"}


def file(repo="owner/name", name="model.bin", size=1000, **more):
    """A ready file that was used a day ago."""
    return File(repo, name, size, **{"charged": size, "state": "ready", "used": NOW - DAY, **more})


def facts(files=(), **more):
    """What is known of a cache of these files, in the order of their last use."""
    total = sum(one.charged for one in files)
    known = {"total": total, "order": sorted(files, key=lambda one: one.used), "files": files, **more}
    return Facts("/var/cache/models", NOW, "0.1.0", **known)


def busy():
    """A cache of which there is something to say in every section: large and small, old and damaged, kept and evicted."""
    repos = [
        "meta-llama/Llama-3.2-1B",
        "openai-community/gpt2",
        "datasets/owner/data@v2",
        "xenova/detr-resnet-50-panoptic",
    ]
    files = [
        file(
            repo, name, 10 ** (3 + (number * 3 + place) % 6) * (place + 2), used=NOW - (number * 5 + place**2) * 7 * DAY
        )
        for number, repo in enumerate(repos)
        for place, name in enumerate(["model.safetensors", "onnx/model_quantized.onnx", "config.json"])
    ]
    files = [one._replace(verified=NOW - number * 4 * DAY, verdict="ok") for number, one in enumerate(files)]
    files[0] = files[0]._replace(verdict="corrupt")
    files[4] = files[4]._replace(keeps="pinned")
    files += [file("small/ones", f"{number}.json", 10_000) for number in range(40)]
    events = []
    for number in range(60):
        at = NOW - (60 - number) * DAY / 3
        events += [Event(at, "download", 10**7), Event(at + 60, "evict", 8 * 10**6)]
        events += [Event(at + 90, "regret", 10**7)] if number % 9 == 8 else []
    total = sum(one.charged for one in files)
    others = {"reserved": total // 20, "partial": 0, "quarantined": total // 30}
    return facts(
        files,
        budget=int(total * 1.2),
        free=4 * 10**11,
        disk=10**12,
        others=others,
        events=events,
        verified=Verified(NOW - DAY, NOW - 9 * DAY, 1),
    )


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; every element must be closed in its order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.texts = [], [], []
        self._open = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """Note it."""
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """It ends what was opened last."""
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Note it."""
        self.texts.append(data)
