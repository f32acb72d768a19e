"""How other programs train ResNet-18: loops from torchvision, timm and Lightning, and one as a program of its own.

    python -m tests.bench.peers NAME --train FOLDER --val FOLDER [--size 64] [--epochs 1] [--output FILE]

Written from the libraries' documentation: the loop of PyTorch's tutorials, the same with the AMP recipe, timm at the
defaults of its training script and with bfloat16 and channels_last, Lightning's Trainer in both precisions. SGD, and
cosine annealing by epochs. Prints a line of JSON: the last epoch's validation accuracy, and the GPU memory taken.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.bench.experiment import AMP_RECIPE, LIGHTNING, LIGHTNING_BF16, PLAIN, TIMM, TIMM_BEST

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
NCHW = torch.contiguous_format
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be trained. output: file or folder of the checkpoint; nothing is saved without."""

    size: int
    num_classes: int
    batch_size: int
    epochs: int
    learning_rate: float
    device: str
    output: Path | None = None
    amp: bool = False
    random_crop: bool = True

    @property
    def low_precision(self) -> torch.dtype:
        """Of autocast as the AMP recipe has it: float16 on a GPU; a CPU has bfloat16 only."""
        return torch.float16 if self.device == "cuda" else torch.bfloat16


def plain(job: Job, train: Batches, val: Batches) -> float:
    """The loop of PyTorch's tutorials, with the steps of the AMP recipe where the job wants them."""
    from torchvision.models import resnet18

    network = resnet18(num_classes=job.num_classes).to(job.device)
    optimizer = torch.optim.SGD(network.parameters(), job.learning_rate, MOMENTUM, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, job.epochs)
    scaler = torch.amp.GradScaler(job.device, enabled=job.amp and job.device == "cuda")
    loss_fn, accuracy, running_loss = nn.CrossEntropyLoss(), 0.0, 0.0
    for _ in range(job.epochs):
        network.train()
        for images, labels in train:
            inputs, targets = images.to(job.device), labels.to(job.device)
            optimizer.zero_grad()
            with torch.autocast(job.device, job.low_precision, enabled=job.amp):
                loss = loss_fn(network(inputs), targets)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            running_loss += loss.item()
        scheduler.step()
        accuracy = validated(network, val, job, job.low_precision)
        if job.output:
            torch.save(network.state_dict(), job.output)
    return accuracy


def timm_script(job: Job, train: Batches, val: Batches) -> float:
    """The loop of timm's training script at its defaults; with amp, its bfloat16 and channels_last."""
    import timm
    from timm.loss.cross_entropy import LabelSmoothingCrossEntropy
    from timm.optim._optim_factory import create_optimizer_v2

    layout = torch.channels_last if job.amp else NCHW
    network = timm.create_model("resnet18", num_classes=job.num_classes).to(job.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = create_optimizer_v2(network, opt="sgd", lr=job.learning_rate, weight_decay=2e-5, momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, job.epochs)
    loss_fn, accuracy = LabelSmoothingCrossEntropy(0.1), 0.0  # type: ignore[no-untyped-call]
    for _ in range(job.epochs):
        network.train()
        for images, labels in train:
            inputs, targets = images.to(job.device, memory_format=layout), labels.to(job.device)
            with torch.autocast(job.device, torch.bfloat16, enabled=job.amp):
                loss = loss_fn(network(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
        accuracy = validated(network, val, job, torch.bfloat16, layout)
        if job.output:
            torch.save({"state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}, job.output)
    return accuracy


def lightning_trainer(job: Job, train: Batches, val: Batches) -> float:
    """Lightning's Trainer, in 32-true or bf16-mixed; the rest as it comes, but without the bar."""
    import lightning

    from tests.bench.classifier import Classifier

    trainer = lightning.Trainer(
        accelerator="gpu" if job.device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if job.amp else "32-true",
        max_epochs=job.epochs,
        default_root_dir=job.output,
        logger=bool(job.output),
        enable_checkpointing=bool(job.output),
        enable_progress_bar=False,
    )
    trainer.fit(Classifier(job), train, val or None)
    return float(trainer.callback_metrics.get("val_accuracy", 0.0))


@torch.no_grad()
def validated(
    network: nn.Module,
    val: Batches,
    job: Job,
    dtype: torch.dtype,
    layout: torch.memory_format = torch.contiguous_format,
) -> float:
    """Share of the images whose label has the largest logit."""
    network.eval()
    correct = count = 0
    for images, labels in val:
        with torch.autocast(job.device, dtype, enabled=job.amp):
            logits = network(images.to(job.device, memory_format=layout))
        correct += int((logits.argmax(1) == labels.to(job.device)).sum())
        count += len(labels)
    return correct / max(count, 1)


def torchvision_loaders(job: Job, train: Path, val: Path, num_workers: int) -> tuple[Batches, Batches]:
    """ImageFolder and DataLoader with the transforms of torchvision's tutorials."""
    from torchvision import datasets, transforms

    squeeze = transforms.Resize((job.size, job.size))
    crop = transforms.RandomResizedCrop(job.size) if job.random_crop else squeeze
    normal = [transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]
    train_set = datasets.ImageFolder(train, transforms.Compose([crop, transforms.RandomHorizontalFlip(), *normal]))
    val_set = datasets.ImageFolder(val, transforms.Compose([squeeze, *normal]))
    make = torch.utils.data.DataLoader[tuple[Tensor, Tensor]]
    return (
        make(train_set, job.batch_size, shuffle=True, num_workers=num_workers),
        make(val_set, job.batch_size, num_workers=num_workers),
    )


def timm_loaders(job: Job, train: Path, val: Path, num_workers: int) -> tuple[Batches, Batches]:
    """create_dataset and create_loader at the defaults of timm's training script."""
    from timm.data.dataset_factory import create_dataset
    from timm.data.loader import create_loader

    made = [
        create_loader(
            create_dataset("", str(folder)),
            input_size=(3, job.size, job.size),
            batch_size=job.batch_size,
            is_training=folder is train,
            num_workers=num_workers,
            device=torch.device(job.device),
        )
        for folder in (train, val)
    ]
    return made[0], made[1]


@dataclass(frozen=True)
class Peer:
    train: Callable[[Job, Batches, Batches], float]
    loaders: Callable[[Job, Path, Path, int], tuple[Batches, Batches]]
    amp: bool


PEERS = {
    PLAIN: Peer(plain, torchvision_loaders, amp=False),
    AMP_RECIPE: Peer(plain, torchvision_loaders, amp=True),
    TIMM: Peer(timm_script, timm_loaders, amp=False),
    TIMM_BEST: Peer(timm_script, timm_loaders, amp=True),
    LIGHTNING: Peer(lightning_trainer, torchvision_loaders, amp=False),
    LIGHTNING_BF16: Peer(lightning_trainer, torchvision_loaders, amp=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_random_crop", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    peer = PEERS[arguments.name]
    job = Job(
        size=arguments.size,
        num_classes=sum(path.is_dir() for path in arguments.train.iterdir()),
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        device=arguments.device,
        output=arguments.output,
        amp=peer.amp,
        random_crop=not arguments.no_random_crop,
    )
    accuracy = peer.train(job, *peer.loaders(job, arguments.train, arguments.val, arguments.workers))
    gpu_bytes = torch.cuda.max_memory_allocated() if job.device == "cuda" else 0
    print(json.dumps({"accuracy": accuracy, "gpu_bytes": gpu_bytes}))


if __name__ == "__main__":
    main()
