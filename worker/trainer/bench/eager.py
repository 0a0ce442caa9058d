"""Images per second of training a small network on Fashion-MNIST in eager PyTorch.

The counterpart of examples/speed.rs: the same network, data, batch size, optimizer and schedule, written
as one would write it by hand with care: data in memory as bytes, gathered by index_select, no .item()
in the loop; on a GPU all of the data lie there. Usage: eager.py DATA_ROOT THREADS DEVICE WIDTH [channels_last].
With the last word the network is kept in the layout that the trainer uses too, which is not PyTorch's
default. Prints one number.
"""

import math
import sys
import time
from pathlib import Path

import torch
from torch import nn

EXAMPLES = 25_600
BATCH = 128


def load(root):
    """Images and labels of the training files."""
    folder = Path(root) / "fashion-mnist"
    images = bytearray((folder / "train-images-idx3-ubyte").read_bytes())
    labels = bytearray((folder / "train-labels-idx1-ubyte").read_bytes())
    images = torch.frombuffer(images, dtype=torch.uint8, offset=16).view(-1, 1, 28, 28)
    labels = torch.frombuffer(labels, dtype=torch.uint8, offset=8).long()
    return images[:EXAMPLES], labels[:EXAMPLES]


def network(factor):
    layers, channels = [], 1
    for width in (16 * factor, 32 * factor, 64 * factor):
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def main():
    root, threads, device, width = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_interop_threads(1)
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    images, labels = load(root)
    pixels = images.float() / 255
    mean, deviation = pixels.mean().item(), pixels.std().item()
    del pixels
    images, labels = images.to(device), labels.to(device)
    model = network(width).train().to(device)
    if "channels_last" in sys.argv[5:]:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loss_of = nn.CrossEntropyLoss()
    steps = EXAMPLES // BATCH
    speed = 0.0
    for epoch in range(2):
        order = torch.randperm(EXAMPLES).to(device)
        total = torch.zeros((), dtype=torch.double, device=device)
        started = time.perf_counter()
        for step in range(steps):
            share = (epoch * steps + step) / (3 * steps)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * share))
            places = order[step * BATCH : (step + 1) * BATCH]
            inputs = images.index_select(0, places).float()
            inputs.mul_(1 / (255 * deviation)).add_(-mean / deviation)
            loss = loss_of(model(inputs), labels.index_select(0, places))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * BATCH
        total.item()
        speed = EXAMPLES / (time.perf_counter() - started)
    print(f"{speed:.1f}")


if __name__ == "__main__":
    main()
