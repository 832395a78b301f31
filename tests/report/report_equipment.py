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


# (repo, [(filename, bytes, days since its last use)])
SHELF = [
    ("openai-community/gpt2", [("model.safetensors", 548_105_171, 2), ("tokenizer.json", 1_355_256, 2)]),
    ("sentence-transformers/all-MiniLM-L6-v2", [("model.safetensors", 90_868_376, 0.2), ("vocab.txt", 231_508, 0.2)]),
    ("Xenova/detr-resnet-50-panoptic", [("onnx/model.onnx", 172_000_000, 12), ("config.json", 7_900, 12)]),
    ("onnx-community/rtdetr_r50vd", [("onnx/model.onnx", 172_300_000, 0.1), ("onnx/model_fp16.onnx", 86_500_000, 41)]),
    ("SharpAI/sam2-hiera-tiny-onnx", [("encoder.onnx", 134_000_000, 5), ("decoder.onnx", 20_600_000, 5)]),
    ("openai/whisper-small", [("model.safetensors", 966_995_080, 26), ("vocab.json", 835_550, 26)]),
    ("facebook/bart-base", [("model.safetensors", 557_709_915, 130), ("merges.txt", 456_318, 130)]),
    ("datasets/rajpurkar/squad@v1.1", [("plain_text/train.parquet", 14_458_314, 70), ("README.md", 7_830, 70)]),
]


def busy():
    """A cache of which there is something to say in every section: large and small, old and damaged, kept and evicted."""
    files = [
        file(repo, name, size, used=NOW - days * DAY - 3600 * place)
        for repo, of in SHELF
        for place, (name, size, days) in enumerate(of)
    ]
    files = [one._replace(verified=NOW - number * 2.7 * DAY, verdict="ok") for number, one in enumerate(files)]
    files[-3] = files[-3]._replace(verified=None)
    files[7] = files[7]._replace(verdict="corrupt")
    files[12] = files[12]._replace(keeps="pinned")
    files += [file("google/flan-t5-small", f"{number:03}.json", 90_000 + number) for number in range(40)]
    events = []
    for number in range(70):
        at, size = NOW - (70 - number) ** 1.07 * DAY / 3, 10**6 * (40 + number * 7919 % 211)
        events.append(Event(at, "download", size * 2))
        if number > 20:
            events.append(Event(at + 60, "evict", int(size * (1.7 + number % 3 * 0.3))))
        if number % 11 == 10:
            events.append(Event(at + 90, "regret", size))
    total = sum(one.charged for one in files)
    others = {"reserved": total // 20, "partial": 0, "quarantined": total // 30}
    return facts(
        files,
        total=total + sum(others.values()),
        budget=4 * 10**9,
        free=412 * 10**9,
        disk=10**12,
        others=others,
        events=events,
        verified=Verified(NOW - DAY / 3, NOW - 9 * DAY, 1),
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
