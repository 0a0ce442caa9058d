"""The network IR in PyTorch, written a second time: modules of `torch.nn` from the JSON of a network.

Nothing here is shared with the trainer's lowering or with the counting in Rust. Channels are in dimension 1
for PyTorch; a sequence (time x features) has them last, so it is transposed around what needs channels.
"""

import json
import math
import struct

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hard_swish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "selu": nn.SELU,
    "hard_sigmoid": nn.Hardsigmoid,
}
DIMENSIONS = {"conv1d": 1, "conv2d": 2}


class ChannelsSecond(nn.Module):
    """A module that wants channels in dimension 1, on a sequence that has them last."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(1, -1)).transpose(1, -1)


class NormOfPlaces(nn.Module):
    """LayerNorm over the channels of each place."""

    def __init__(self, channels, last):
        super().__init__()
        self.inner = nn.LayerNorm(channels)
        self.last = last

    def forward(self, x):
        return self.inner(x) if self.last else self.inner(x.movedim(1, -1)).movedim(-1, 1)


class Global(nn.Module):
    def __init__(self, places, maximum):
        super().__init__()
        self.places, self.maximum = places, maximum

    def forward(self, x):
        return x.amax(self.places) if self.maximum else x.mean(self.places)


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        kept = torch.rand(len(x), *[1] * (x.dim() - 1)) >= self.rate
        return x * kept / (1 - self.rate)


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed, places, last):
        super().__init__()
        self.reduce, self.expand = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)
        self.places, self.last = places, last

    def forward(self, x):
        scales = torch.sigmoid(self.expand(F.relu(self.reduce(x.mean(self.places)))))
        shape = [len(x), 1, -1] if self.last else [len(x), -1, *[1] * len(self.places)]
        return x * scales.view(shape)


class ToSequence(nn.Module):
    def forward(self, x):
        return torch.stack([place for place in x.flatten(2).unbind(2)], dim=1)


class Learned(nn.Module):
    def __init__(self, length, features):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length, features) * 0.02)

    def forward(self, x):
        return x + self.weight


class Sinusoidal(nn.Module):
    def __init__(self, length, features):
        super().__init__()
        table = [
            [
                (math.sin if feature % 2 == 0 else math.cos)(place / 10_000 ** ((feature - feature % 2) / features))
                for feature in range(features)
            ]
            for place in range(length)
        ]
        self.register_buffer("table", torch.tensor(table), persistent=False)

    def forward(self, x):
        return x + self.table


class Attention(nn.Module):
    def __init__(self, features, heads, dropout, qkv_bias):
        super().__init__()
        self.inner = nn.MultiheadAttention(features, heads, dropout=dropout, batch_first=True)
        if not qkv_bias:
            self.inner.in_proj_bias = None

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, kind, in_features, hidden, layers, bidirectional, output):
        super().__init__()
        self.inner = kind(in_features, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.output = output

    def forward(self, x):
        steps, _ = self.inner(x)
        if self.output == "sequence":
            return steps
        if not self.inner.bidirectional:
            return steps[:, -1]
        half = self.inner.hidden_size
        return torch.cat([steps[:, -1, :half], steps[:, 0, half:]], dim=1)


class Zeros(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x.new_zeros(len(x), *self.size, dtype=torch.float32)


class Join(nn.Module):
    def __init__(self, how, dimension):
        super().__init__()
        self.how, self.dimension = how, dimension

    def forward(self, *inputs):
        if self.how == "concat":
            return torch.cat(inputs, self.dimension)
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other if self.how == "add" else total * other
        return total


def size_of(shape):
    return [length for _, length in shape]


def module(node, shape):
    """The module of a node whose first input has this shape."""
    op, settings = (node["op"], {}) if isinstance(node["op"], str) else next(iter(node["op"].items()))
    axes = [axis for axis, _ in shape]
    last = axes == ["time", "features"]
    places = [1 + index for index, axis in enumerate(axes) if axis in ("height", "width", "time")]

    def second(inner):
        return ChannelsSecond(inner) if last else inner

    def of_dimensions(one, two):
        return one if len(places) == 1 else two

    if op in DIMENSIONS:
        kind = nn.Conv1d if op == "conv1d" else nn.Conv2d
        names = ("in_channels", "out_channels", "stride", "padding", "dilation", "groups", "bias")
        return second(kind(kernel_size=settings["kernel"], **{name: settings[name] for name in names}))
    if op in ("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"):
        window = (settings["kernel"], settings["stride"], settings["padding"])
        if op.startswith("max"):
            return second(of_dimensions(nn.MaxPool1d, nn.MaxPool2d)(*window))
        return second(of_dimensions(nn.AvgPool1d, nn.AvgPool2d)(*window, count_include_pad=False))
    if op == "batch_norm":
        kind = nn.BatchNorm2d if len(places) == 2 else nn.BatchNorm1d
        return second(kind(settings["channels"]))
    simple = {
        "linear": lambda: nn.Linear(settings["in_features"], settings["out_features"], settings["bias"]),
        "layer_norm": lambda: NormOfPlaces(settings["channels"], last or axes == ["features"]),
        "group_norm": lambda: second(nn.GroupNorm(settings["groups"], settings["channels"])),
        "activation": lambda: ACTIVATIONS[settings](),
        "prelu": lambda: second(nn.PReLU(settings["channels"])),
        "adaptive_max_pool": lambda: second(
            of_dimensions(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)(settings["size"])
        ),
        "adaptive_avg_pool": lambda: second(
            of_dimensions(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)(settings["size"])
        ),
        "global_max_pool": lambda: Global(places, True),
        "global_avg_pool": lambda: Global(places, False),
        "dropout": lambda: nn.Dropout(settings["rate"]),
        "drop_path": lambda: DropPath(settings["rate"]),
        "squeeze_excite": lambda: SqueezeExcite(settings["channels"], settings["squeezed"], places, last),
        "flatten": nn.Flatten,
        "to_sequence": ToSequence,
        "embedding": lambda: nn.Embedding(settings["vocabulary"], settings["features"]),
        "positional_encoding": lambda: (Learned if settings["kind"] == "learned" else Sinusoidal)(
            settings["length"], settings["features"]
        ),
        "attention": lambda: Attention(**settings),
        "lstm": lambda: Recurrent(nn.LSTM, **settings),
        "gru": lambda: Recurrent(nn.GRU, **settings),
        "add": lambda: Join("add", None),
        "multiply": lambda: Join("multiply", None),
        "concat": lambda: Join("concat", -1 if "features" in axes else 1),
        "zero": lambda: Zeros(size_of(shape)),
        "zeros": lambda: Zeros(size_of(node["shape"])),
        "identity": nn.Identity,
    }
    return simple[op]()


class Reference(nn.Module):
    """A network."""

    def __init__(self, network):
        super().__init__()
        self.network = network["nodes"]
        self.output = network["output"]
        self.steps = nn.ModuleList(
            nn.Identity() if index == 0 else module(node, self.network[node["inputs"][0]]["shape"])
            for index, node in enumerate(self.network)
        )

    def forward(self, x, all_nodes=True):
        """All nodes are computed, so that what the output does not depend on is counted too; or only those
        that it depends on otherwise than through a zero."""
        wanted = self.needed(through_zeros=False)
        values = [x]
        for index, (node, step) in enumerate(zip(self.network[1:], self.steps[1:]), start=1):
            if all_nodes:
                values.append(step(*[values[read] for read in node["inputs"]]))
            elif not wanted[index]:
                values.append(None)
            elif isinstance(step, Zeros):
                values.append(step(x))
            else:
                values.append(step(*[values[read] for read in node["inputs"]]))
        return values[self.output]

    def load(self, tensors):
        """Takes the trainer's weights: every one is used, and nothing is left as it was drawn. What does not
        lead to the output is not built by the trainer."""
        given = {name.removeprefix("weights/"): value for name, value in tensors.items() if "/" in name}
        needed = self.needed()
        with torch.no_grad():
            for node, step, live in zip(self.network, self.steps, needed):
                for name, value in [*step.named_parameters(), *step.named_buffers()]:
                    if name.endswith(("num_batches_tracked", "table")) or not live:
                        continue
                    value.copy_(given.pop(f"{node['name']}.{name.removeprefix('inner.')}"))
        assert not given, f"left over: {list(given)}"

    def needed(self, through_zeros=True):
        needed = [False] * len(self.network)
        needed[self.output] = True
        for index in range(len(self.network) - 1, -1, -1):
            if needed[index] and (through_zeros or not isinstance(self.steps[index], Zeros)):
                for read in self.network[index]["inputs"]:
                    needed[read] = True
        return needed


def batch(network, count):
    shape = network["nodes"][0]["shape"]
    if [axis for axis, _ in shape] == ["time"]:
        return torch.randint(20, (count, *size_of(shape)))
    return torch.randn(count, *size_of(shape))


def macs(network):
    """What FlopCounterMode reports for one example, halved. Counted on the device `meta`, where nothing is
    computed and no kernel is fused: it has no formula for the CPU's fused attention and recurrence."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        Reference(network).eval()(batch(network, 1))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def kept_bytes(model, network):
    """Bytes that automatic differentiation keeps for one example: the slope over two sizes of batch. Storages
    count once, and weights not at all. Recurrence is computed by PyTorch's plain kernels: what oneDNN keeps is
    padded to the blocks of the processor at hand."""
    model.train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    plain = any("lstm" in node["op"] for node in network["nodes"])

    def kept(count):
        storages = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                # Held, so that no other storage gets its address.
                storages[storage.data_ptr()] = storage
            # Nothing is given to keep, as no backward pass follows: an output that its own node kept would
            # never be freed.

        with torch.backends.mkldnn.flags(enabled=not plain):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                model(batch(network, count), all_nodes=False)
        return sum(storage.nbytes() for storage in storages.values())

    return (kept(4) - kept(2)) / 2


def shape_of(model, network):
    """The shape that comes out in training, batch left out; the backward pass runs too."""
    model.train()
    output = model(batch(network, 2))
    if output.requires_grad:
        output.sum().backward()
    return list(output.shape[1:])


def read_safetensors(path):
    """The tensors of a file; the format is a length, a header in JSON, and bytes."""
    kinds = {"F32": torch.float32, "I64": torch.int64}
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        values = data[8 + length + start : 8 + length + end]
        kind = kinds[entry["dtype"]]
        flat = torch.frombuffer(values, dtype=kind) if values else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
