"""PyTorch and timm on the folders of ``gpu.py``: what the card can do, training, and files to labels.

    python benchmarks/gpu_peer.py --out peer.json --work build/gpu

It needs torch, torchvision and timm, which Georgia does not; run ``gpu.py`` first, which makes the folders.
Channels last, automatic mixed precision, a loader process per core. The last tenth of ResNet-101 is its last
stage, as in ``gpu.py``; that of EfficientNet-Lite0 its last block and last convolution.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets, transforms

NETS = {"resnet101": "resnet101", "efficientnet-lite0": "tf_efficientnet_lite0"}
LAST = {"resnet101": ("layer4",), "efficientnet-lite0": ("blocks.6", "conv_head", "bn2")}
BATCH, EPOCHS, SIZE_PX, N_ALONE = 64, 3, 224, 2048
CUDA = torch.device("cuda")
NORMALIZE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Georgia's recipe "georgia": rotation, shift, zoom, flips.
STUDY = transforms.Compose(
    [
        transforms.Resize((SIZE_PX, SIZE_PX)),
        transforms.RandomAffine(30, (0.2, 0.2), (0.7, 1.3)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomVerticalFlip(),
        transforms.PILToTensor(),
    ]
)
PLAIN = transforms.Compose([transforms.Resize((SIZE_PX, SIZE_PX)), transforms.PILToTensor()])


def clock(step: Callable[[], Any], count: int) -> float:
    """Return things per second of a step of so many, the card's work included."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return round(count / (time.perf_counter() - started), 1)


def set_precision(name: str) -> Any:
    """Choose the arithmetic; return the context that a step runs in."""
    is_rounded = name == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_rounded
    return torch.autocast("cuda", torch.bfloat16) if name == "bfloat16" else nullcontext()


def time_product(a: torch.Tensor, b: torch.Tensor, repeats: int = 10) -> float:
    """Return products per second, after one that does not count."""
    torch.mm(a, b)
    return clock(lambda: [torch.mm(a, b) for _ in range(repeats)], repeats)


def measure_card() -> dict[str, float]:
    """Return TFLOP/s of a square product of random numbers, 8192 wide, and GB/s of a copy."""
    found = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("tf32", torch.float32), ("float32", torch.float32)):
        set_precision(name)
        a, b = (torch.randn(8192, 8192, device=CUDA, dtype=dtype) for _ in range(2))
        found[f"product {name}, TFLOP/s"] = round(2 * 8192**3 * time_product(a, b) / 1e12, 1)
    big = torch.empty(2**31, dtype=torch.uint8, device=CUDA)
    other = torch.empty_like(big)
    rate = clock(lambda: [other.copy_(big) for _ in range(10)], 10)
    found["copy, GB/s read and written"] = round(2 * 2**31 * rate / 1e9, 1)
    return found


def build(net: str, fraction: float) -> nn.Module:
    """Return a net with random weights of which the last tenth, or the whole, is trained."""
    model = timm.create_model(NETS[net], pretrained=False, num_classes=1)
    if fraction < 1:
        model.requires_grad_(False)
        for name, child in model.named_modules():
            if name in LAST[net] or name in ("fc", "classifier"):
                child.requires_grad_(True)
    return model.to(CUDA, memory_format=torch.channels_last)


def load(folder: Path, transform: Any, shuffle: bool) -> Any:
    """Return a loader with a process per core."""
    return torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder), transform),
        BATCH,
        shuffle,
        num_workers=len(os.sched_getaffinity(0)),
        pin_memory=True,
        persistent_workers=True,
        drop_last=False,
    )


def to_card(images: torch.Tensor) -> torch.Tensor:
    """Return bytes as what the net takes."""
    on_card = images.to(CUDA, non_blocking=True).to(memory_format=torch.channels_last)
    return NORMALIZE(on_card.float() / 255)


def time_training(net: str, work: Path, precision: str, fraction: float) -> dict[str, Any]:
    """Return images/s of each epoch with one pass over the validation split, and of steps alone."""
    model, context = build(net, fraction), set_precision(precision)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.01, momentum=0.9)
    loss_of = nn.BCEWithLogitsLoss()
    folder = next(work.glob("split-4096-*"), None) or next(work.glob("split-*"))
    train, valid = load(folder / "train", STUDY, True), load(folder / "valid", PLAIN, False)

    def step(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with context:
            loss = loss_of(model(to_card(images))[:, 0].float(), targets.to(CUDA).float())
        loss.backward()
        optimizer.step()
        return loss.detach()

    def epoch() -> None:
        model.train()
        sums = [step(images, targets) for images, targets in train]
        model.eval()
        with torch.no_grad(), context:
            sums += [model(to_card(images)).sum() for images, _ in valid]
        torch.stack([value.float() for value in sums]).sum().item()

    images = torch.randint(0, 256, (BATCH, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    targets = torch.arange(BATCH) % 2
    counter = FlopCounterMode(display=False)
    with counter:
        step(images, targets)
    total = len(train.dataset) + len(valid.dataset)
    found: dict[str, Any] = {"GFLOP of a training image": round(counter.get_total_flops() / BATCH / 1e9, 2)}
    model.train()
    repeats = N_ALONE // BATCH
    found["steps alone, images/s"] = clock(lambda: [step(images, targets) for _ in range(repeats)], N_ALONE)
    for number in range(1, EPOCHS + 1):
        found[f"epoch {number}, images/s of training and validation"] = clock(epoch, total)
    return found


class Files(torch.utils.data.Dataset[torch.Tensor]):
    """Images of a flat folder."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> torch.Tensor:
        return PLAIN(Image.open(self.files[at]).convert("RGB"))


def time_predictions(net: str, work: Path, precision: str) -> dict[str, Any]:
    """Return images/s of the net alone and files/s to labels."""
    model, context = build(net, 0.1).eval(), set_precision(precision)
    data = Files(max(work.glob("many-*"), key=lambda path: int(path.name.split("-")[1])))
    loader = torch.utils.data.DataLoader(
        data, BATCH, num_workers=len(os.sched_getaffinity(0)), pin_memory=True
    )

    def labels(batches: Iterator[torch.Tensor]) -> list[float]:
        with torch.inference_mode(), context:
            kept = [model(to_card(images)).float() for images in batches]
        return [float(value) for value in torch.cat(kept)[:, 0].cpu()]

    images = torch.randint(0, 256, (BATCH, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8).pin_memory()
    labels(iter([images]))
    alone = clock(lambda: labels(iter([images] * (N_ALONE // BATCH))), N_ALONE)
    rates = [clock(lambda: labels(iter(loader)), len(data)) for _ in range(2)]
    return {"net alone, images/s": alone, "files to labels, files/s": rates}


def main() -> None:
    """Measure everything, net after net."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/gpu"))
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}

    def take(name: str, value: Any) -> None:
        found[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)
        arguments.out.write_text(json.dumps(found, indent=1), encoding="utf-8")

    take("ceilings", measure_card())
    for net in NETS:
        for precision in ("bfloat16", "float32"):
            take(f"{net}: predict, {precision}", time_predictions(net, arguments.work, precision))
            take(f"{net}: last tenth, {precision}", time_training(net, arguments.work, precision, 0.1))
        take(f"{net}: whole net, bfloat16", time_training(net, arguments.work, "bfloat16", 1.0))


if __name__ == "__main__":
    main()
