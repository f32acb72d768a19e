"""ResNet-18 as Lightning wants it: the steps and the optimizer, in its own words."""

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import resnet18

from tests.bench.peers import MOMENTUM, WEIGHT_DECAY, Job


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.network = job, resnet18(num_classes=job.num_classes)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        self.log("val_accuracy", (self.network(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        rate = self.job.learning_rate
        optimizer = torch.optim.SGD(self.parameters(), rate, MOMENTUM, weight_decay=WEIGHT_DECAY)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.job.epochs)]
