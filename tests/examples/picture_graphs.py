"""Small ONNX graphs with the inputs and outputs of the real models, which know the colours of the drawn scene.

The detector and the panoptic one look for pixels near a colour; the prompted one for pixels that look as those at the point
do. So they find what there is to find in the scene, and what they find can be computed in NumPy (`picture_reference`).
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from picture_scene import STUFF, THINGS

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
REGIONS = [row[1:] for row in THINGS.values()] + list(STUFF.values())
THRESHOLDS = (0.02, 0.5, 3.0)  # squared distances in normalised colour: a part, the whole, too much
SHARPNESS = 0.004  # of a point's neighbourhood, as a share of the picture


class Graph:
    """A graph in the making: nodes and weights, in the order in which they are asked for."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def __call__(self, kind, *inputs, output="", **attributes):
        """Appends a node; inputs are names of values, or arrays, which become weights. Returns the output's name."""
        names = [value if isinstance(value, str) else self.weight(value) for value in inputs]
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def weight(self, array):
        """Adds a weight; lists of floats are float32, arrays stay as they are."""
        array = array if isinstance(array, np.ndarray) else np.array(array, np.float32)
        self.weights.append(numpy_helper.from_array(array, f"weight{len(self.weights)}"))
        return self.weights[-1].name

    def bytes(self, inputs, outputs):
        """The file; inputs and outputs as name=(shape) or name=(type, shape)."""

        def described(values):
            return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()]

        graph = helper.make_graph(self.nodes, "small", described(inputs), described(outputs), self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def normalised(colours):
    """Colours in 0…255 as the models see them."""
    return ((np.array(colours) / 255 - MEAN) / DEVIATION).astype(np.float32)


def distances(graph, pixels, colours):
    """The squared distance of each pixel from each colour, by a 1 × 1 convolution: |x|² - 2cx + |c|²."""
    wanted = normalised(colours)
    own = graph("ReduceSum", graph("Mul", pixels, pixels), np.array([1]), keepdims=1)
    crossed = graph("Conv", pixels, (-2 * wanted)[:, :, None, None], (wanted**2).sum(1))
    return graph("Add", own, crossed)


def radii(reaches):
    """Squared radii in normalised colour of distances in 0…1."""
    return ((np.array(reaches) / DEVIATION.mean()) ** 2).astype(np.float32)[None, :, None, None]


def ones(size, places, numbers):
    """A matrix with a one per row."""
    matrix = np.zeros((size, places), np.float32)
    matrix[np.arange(size), numbers] = 1
    return matrix


def filled(graph, found, missing, axis, value):
    """Further queries that found nothing."""
    pads = np.zeros(8 if axis == "masks" else 6, np.int64)
    pads[5 if axis == "masks" else 4] = missing
    return graph("Pad", found, pads, np.float32(value).reshape(()))


def detector():
    """As `onnx-community/rtdetr_r50vd`: the smallest box around the pixels of each colour."""
    graph = Graph()
    classes, _, colours, reaches = zip(*THINGS.values(), strict=True)
    near = graph("Cast", graph("Less", distances(graph, "pixel_values", colours), radii(reaches)), to=TensorProto.FLOAT)
    ends = (np.arange(640, dtype=np.float32) + 1) / 640
    starts = (640 - np.arange(640, dtype=np.float32)) / 640
    centres, extents = [], []
    for axis in ((1, 1, 1, 640), (1, 1, 640, 1)):
        high = graph("ReduceMax", graph("Mul", near, ends.reshape(axis)), axes=[2, 3], keepdims=0)
        low = graph("Sub", [1.0], graph("ReduceMax", graph("Mul", near, starts.reshape(axis)), axes=[2, 3], keepdims=0))
        centres.append(graph("Mul", graph("Add", low, high), [0.5]))
        extents.append(graph("Sub", high, low))
    sides = [graph("Unsqueeze", side, np.array([2])) for side in centres + extents]
    area = graph("ReduceMean", near, axes=[2, 3], keepdims=0)
    evidence = graph("Unsqueeze", graph("Div", area, graph("Add", area, [0.0003])), np.array([2]))
    logits = graph("Sub", graph("Mul", evidence, 10 * ones(len(classes), 80, classes)[None]), [6.0])
    more = 300 - len(classes)
    graph("Identity", filled(graph, logits, more, "queries", -6.0), output="logits")
    graph("Identity", filled(graph, graph("Concat", *sides, axis=2), more, "queries", 0.0), output="pred_boxes")
    return graph.bytes(
        {"pixel_values": (TensorProto.FLOAT, [1, 3, 640, 640])},
        {"logits": (TensorProto.FLOAT, [1, 300, 80]), "pred_boxes": (TensorProto.FLOAT, [1, 300, 4])},
    )


FEATURES = {
    "high_res_feats_0": (TensorProto.FLOAT, [1, 32, 256, 256]),
    "high_res_feats_1": (TensorProto.FLOAT, [1, 64, 128, 128]),
    "image_embed": (TensorProto.FLOAT, [1, 256, 64, 64]),
}


def encoder():
    """As SAM 2's encoder: the picture's colours at three sizes, in the first three channels."""
    graph = Graph()
    for name, (_, (_, channels, side, _)) in FEATURES.items():
        step = 1024 // side
        pooled = graph("AveragePool", "image", kernel_shape=[step, step], strides=[step, step])
        kept = np.zeros((channels, 3, 1, 1), np.float32)
        kept[[0, 1, 2], [0, 1, 2]] = 1
        graph("Conv", pooled, kept, output=name)
    return graph.bytes({"image": (TensorProto.FLOAT, [1, 3, 1024, 1024])}, FEATURES)


def decoder():
    """As SAM 2's decoder: what looks as the points' neighbourhoods do, judged by three thresholds."""
    graph = Graph()
    grid = ((np.arange(256, dtype=np.float32) + 0.5) / 256).reshape(1, 1, 256)
    near = []
    for place in (0, 1):
        at = graph("Div", graph("Gather", "point_coords", np.array([place]), axis=2), [1024.0])
        off = graph("Div", graph("Sub", grid, at), [SHARPNESS])
        near.append(graph("Exp", graph("Mul", graph("Mul", off, off), [-0.5])))
    across, down = graph("Unsqueeze", near[0], np.array([2])), graph("Unsqueeze", near[1], np.array([3]))
    labelled = graph("Mul", graph("Mul", across, down), graph("Unsqueeze", "point_labels", np.array([2, 3])))
    weights = graph("ReduceSum", labelled, np.array([1]), keepdims=1)
    total = graph("ReduceSum", weights, np.array([2, 3]), keepdims=1)
    summed = graph("ReduceSum", graph("Mul", "high_res_feats_0", weights), np.array([2, 3]), keepdims=1)
    off = graph("Sub", "high_res_feats_0", graph("Div", summed, total))
    distance = graph("ReduceSum", graph("Mul", off, off), np.array([1]), keepdims=1)
    limits = np.array(THRESHOLDS, np.float32).reshape(1, 3, 1, 1)
    logits = graph("Mul", graph("Sub", limits, distance), 8 / limits)
    before = graph("Mul", "mask_input", graph("Reshape", "has_mask_input", np.array([1, 1, 1, 1])))
    graph("Clip", graph("Add", logits, before), np.float32(-8).reshape(()), np.float32(8).reshape(()), output="masks")
    seen = [graph("ReduceMean", name, axes=[1, 2, 3], keepdims=0) for name in ("image_embed", "high_res_feats_1")]
    swing = graph("Mul", graph("Tanh", graph("Add", *seen)), [0.02])
    graph("Add", graph("Unsqueeze", swing, np.array([1])), [[0.71, 0.93, 0.64]], output="iou_predictions")
    given = {
        **FEATURES,
        "point_coords": (TensorProto.FLOAT, [1, "points", 2]),
        "point_labels": (TensorProto.FLOAT, [1, "points"]),
        "mask_input": (TensorProto.FLOAT, [1, 1, 256, 256]),
        "has_mask_input": (TensorProto.FLOAT, [1]),
    }
    results = {"masks": (TensorProto.FLOAT, [1, 3, 256, 256]), "iou_predictions": (TensorProto.FLOAT, [1, 3])}
    return graph.bytes(given, results)


def panoptic():
    """As `Xenova/detr-resnet-50-panoptic`: how near each fourth pixel is to each colour."""
    graph = Graph()
    classes, colours, reaches = zip(*REGIONS, strict=True)
    fourth = graph("Conv", "pixel_values", np.eye(3, dtype=np.float32)[:, :, None, None], strides=[4, 4])
    share = graph("Div", distances(graph, fourth, colours), radii(reaches))
    found = graph("Mul", graph("Sub", [1.0], share), [6.0])
    masks = graph("Clip", found, np.float32(-6).reshape(()), np.float32(6).reshape(()))
    inside = graph("Cast", graph("Less", share, [1.0]), to=TensorProto.FLOAT)
    area = graph("ReduceMean", inside, axes=[2, 3], keepdims=0)
    evidence = graph("Unsqueeze", graph("Div", area, graph("Add", area, [0.0004])), np.array([2]))
    allowed = graph("ReduceMin", graph("Cast", "pixel_mask", to=TensorProto.FLOAT), axes=[1, 2], keepdims=1)
    scaled = graph("Mul", graph("Mul", evidence, allowed), 12 * ones(len(classes), 251, classes)[None])
    logits = graph("Add", scaled, 4 * ones(1, 251, [250])[None])
    more = 100 - len(classes)
    graph("Identity", filled(graph, logits, more, "queries", 0.0), output="logits")
    graph("Identity", filled(graph, masks, more, "masks", -6.0), output="pred_masks")
    graph("Identity", np.full((1, 100, 4), 0.5, np.float32), output="pred_boxes")
    return graph.bytes(
        {
            "pixel_values": (TensorProto.FLOAT, [1, 3, "height", "width"]),
            "pixel_mask": (TensorProto.INT64, [1, 64, 64]),
        },
        {
            "logits": (TensorProto.FLOAT, [1, 100, 251]),
            "pred_boxes": (TensorProto.FLOAT, [1, 100, 4]),
            "pred_masks": (TensorProto.FLOAT, [1, 100, "rows", "columns"]),
        },
    )


def config():
    """As the panoptic repo's: the names of the things, placeholders for the merged stuff."""
    names = {number: name for name, (_, number, _, _) in THINGS.items()}
    names |= {number: name for name, (number, _, _) in STUFF.items() if number < 183}
    return json.dumps({"id2label": {str(n): names.get(n, f"LABEL_{n}") for n in range(250)}}).encode()


def repos():
    """What a hub serves for the examples: the real names, and these graphs."""
    return {
        "onnx-community/rtdetr_r50vd": {"onnx/model.onnx": detector()},
        "SharpAI/sam2-hiera-tiny-onnx": {"encoder.onnx": encoder(), "decoder.onnx": decoder()},
        "Xenova/detr-resnet-50-panoptic": {"onnx/model.onnx": panoptic(), "config.json": config()},
    }
