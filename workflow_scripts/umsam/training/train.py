"""Train the UNet of one variant: SGD with polynomial decay on the losses of eq. 6-9."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from umsam.errors import InputError
from umsam.evaluation.dice import dice
from umsam.postprocessing import largest_component
from umsam.training.augmentation import (
    add_noise,
    change_contrast,
    random_affines,
    sample_images,
    sample_sam_features,
)
from umsam.training.dataset import Batch, SliceDataset, TrainingCase
from umsam.training.distillation import (
    class_contrastive_loss,
    class_feature_loss,
    pseudo_label_losses,
    student_and_teacher_prototypes,
)
from umsam.training.predict import predict_volume
from umsam.training.unet import STRIDE, UNet
from umsam.training.variants import Variant

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSettings:
    """The training section of the configuration, as far as a variant uses it."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    poly_power: float
    patch_size: int
    rotation: float
    flip: bool
    noise_std: float
    noise_prob: float
    validate_every: int
    spacing: float | None = None
    scaling: float = 0.0
    gamma: float = 0.0
    lambda_1: float = 0.0
    lambda_2: float = 0.0
    tau: float = 0.5
    detach_teacher_weights: bool = False
    feature_scale: float = 1.0
    ema_decay: float = 0.0
    smooth_z: float = 0.0  # these two: as predictions are made, where an epoch is validated
    largest_component: bool = False

    def __post_init__(self) -> None:
        if self.patch_size % STRIDE or self.patch_size < 2 * STRIDE:
            raise InputError(
                f"configuration: training.patch_size is {self.patch_size}; the UNet needs a multiple of "
                f"{STRIDE} of at least {2 * STRIDE}."
            )


@dataclass(frozen=True)
class Losses:
    """The terms of eq. 9, unweighted but for `loss`, their sum."""

    loss: Tensor
    loss_ce: Tensor
    loss_dice: Tensor
    loss_cfkd: Tensor
    loss_cckd: Tensor


@dataclass(frozen=True)
class Epoch:
    """One row of the log; means over the epoch's steps. `val_dsc` is nan where none was taken."""

    epoch: int
    lr: float
    loss: float
    loss_ce: float
    loss_dice: float
    loss_cfkd: float
    loss_cckd: float
    val_dsc: float
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """Weights at the end of an epoch, with the validation's DSC there (nan without one).

    `spacing` is the size in mm of the pixels the network is for, None for any.
    """

    weights: dict[str, Tensor]
    epoch: int
    val_dsc: float
    spacing: float | None = None

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values, readable with ``weights_only=True``."""
        torch.save(asdict(self), path)


@dataclass(frozen=True)
class Training:
    """The best epoch on the validation labels (the last one without any), the last, the log."""

    best: Checkpoint
    last: Checkpoint
    history: list[Epoch]


def train(
    dataset: SliceDataset,
    variant: Variant,
    settings: TrainingSettings,
    seed: int,
    device: str,
    validation: Sequence[TrainingCase] = (),
) -> Training:
    """Train one UNet.

    Parameters
    ----------
    dataset
        The slices; with SAM's features where `variant` distills.
    seed
        Weights, order, augmentation, noise and dropout all follow from it: on the CPU the same seed
        and the same number of threads give the same weights, bit for bit.
    validation
        Volumes with their labels as targets; their mean 3D DSC chooses the best epoch.

    Raises
    ------
    InputError
        A loss is not finite any more, or the settings do not fit the network.
    """
    rng = np.random.default_rng(seed)
    noise = torch.Generator(device).manual_seed(seed)
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices):  # initial weights and dropout draw from the global one
        torch.manual_seed(seed)
        unet = UNet(spacing=settings.spacing).to(device, memory_format=torch.channels_last).train()
        return _epochs(unet, dataset, variant, settings, rng, noise, device, validation)


def _epochs(
    unet: UNet,
    dataset: SliceDataset,
    variant: Variant,
    settings: TrainingSettings,
    rng: np.random.Generator,
    noise: torch.Generator,
    device: str,
    validation: Sequence[TrainingCase],
) -> Training:
    optimizer = torch.optim.SGD(
        unet.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    steps = settings.epochs * math.ceil(dataset.epoch_length / settings.batch_size)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, settings.poly_power)
    average = None
    if settings.ema_decay:
        mean = get_ema_multi_avg_fn(settings.ema_decay)
        average = AveragedModel(unet, multi_avg_fn=mean, use_buffers=True)
    result = average.module if average else unet
    history: list[Epoch] = []
    best: Checkpoint | None = None
    start = reported = time.perf_counter()

    for epoch in range(1, settings.epochs + 1):
        epoch_start = time.perf_counter()
        lr = schedule.get_last_lr()[0]
        rows = []
        for batch in _batches(dataset, settings.batch_size, rng):
            losses = batch_losses(unet, batch, variant, settings, rng, noise, device)
            optimizer.zero_grad(set_to_none=True)
            losses.loss.backward()
            optimizer.step()
            schedule.step()
            if average:
                average.update_parameters(unet)
            rows.append(torch.stack(list(vars(losses).values())).detach())
        means = torch.stack(rows).mean(dim=0).tolist()
        _check_finite(means, epoch, settings)

        last_epoch = epoch == settings.epochs
        due = bool(validation) and (epoch % settings.validate_every == 0 or last_epoch)
        val_dsc = math.nan
        if due:
            smooth, largest = settings.smooth_z, settings.largest_component
            val_dsc = mean_dsc(result, validation, device, smooth=smooth, largest=largest)
        now = time.perf_counter()
        history.append(Epoch(epoch, lr, *means, val_dsc, now - epoch_start))
        if due and (best is None or val_dsc >= best.val_dsc):  # of equal ones the longest trained
            best = _checkpoint(result, epoch, val_dsc)
        if now - reported > 5 or last_epoch:
            log.info("%s", _progress(history[-1], settings.epochs, now - start))
            reported = now

    last = _checkpoint(result, settings.epochs, history[-1].val_dsc)
    return Training(best or last, last, history)


def batch_losses(
    unet: UNet,
    batch: Batch,
    variant: Variant,
    settings: TrainingSettings,
    rng: np.random.Generator,
    noise: torch.Generator,
    device: str,
) -> Losses:
    """Augment a batch on `device`, run the network and take the terms of eq. 9."""
    zoom = settings.spacing / batch.spacing if settings.spacing else None
    affines = random_affines(
        batch.size,
        settings.patch_size,
        settings.rotation,
        settings.flip,
        rng,
        zoom,
        settings.scaling,
    ).to(device)
    image = sample_images(batch.image.to(device), affines)
    target = sample_images(batch.target.to(device).float(), affines, mode="nearest")[:, 0]
    if settings.gamma:
        image = change_contrast(image, settings.gamma, noise)
    image = add_noise(image, settings.noise_std, settings.noise_prob, noise)
    logits, bottleneck = unet(image)

    cross_entropy, dice = pseudo_label_losses(logits, target)
    feature = contrastive = torch.zeros((), device=device)
    if variant.distills:
        teacher, valid = sample_sam_features(
            batch.sam_features.to(device), affines, batch.view.to(device)
        )
        g, g_teacher = student_and_teacher_prototypes(
            logits, bottleneck, teacher, valid, settings.detach_teacher_weights
        )
        if variant.feature:
            feature = class_feature_loss(g, g_teacher, settings.feature_scale)
        if variant.contrastive:
            contrastive = class_contrastive_loss(g, g_teacher, settings.tau)
    total = cross_entropy + dice + settings.lambda_1 * feature + settings.lambda_2 * contrastive
    return Losses(total, cross_entropy, dice, feature, contrastive)


def mean_dsc(
    unet: UNet,
    cases: Sequence[TrainingCase],
    device: str,
    smooth: float = 0.0,
    largest: bool = False,
) -> float:
    """Mean over volumes of the 3D DSC of the network's segmentation with the label.

    `smooth` as in `predict_volume`; of its largest component, with `largest`.
    """
    predicted = (
        predict_volume(unet, case.image, case.spacing, device, smooth=smooth) for case in cases
    )
    if largest:
        predicted = map(largest_component, predicted)
    return float(np.mean([dice(x, case.target) for x, case in zip(predicted, cases, strict=True)]))


def _batches(dataset: SliceDataset, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """The epoch's slices once, in random order; the last batch may be smaller."""
    order = dataset.epoch(rng).tolist()
    for start in range(0, len(order), size):
        yield dataset.batch(order[start : start + size])


def _checkpoint(unet: UNet, epoch: int, val_dsc: float) -> Checkpoint:
    weights = {name: value.detach().cpu().clone() for name, value in unet.state_dict().items()}
    return Checkpoint(weights, epoch, val_dsc, unet.spacing)


def _check_finite(means: list[float], epoch: int, settings: TrainingSettings) -> None:
    if not all(math.isfinite(value) for value in means):
        names = [name for name, value in zip(Losses.__annotations__, means, strict=True)
                 if not math.isfinite(value)]  # fmt: skip
        raise InputError(
            f"the training diverged in epoch {epoch}: {', '.join(names)} not finite. Lower "
            f"training.learning_rate (now {settings.learning_rate}) or, where the variant "
            f"distills, lambda_1 (now {settings.lambda_1})."
        )


def _progress(row: Epoch, epochs: int, elapsed: float) -> str:
    terms = {"ce": row.loss_ce, "dice": row.loss_dice, "cfkd": row.loss_cfkd, "cckd": row.loss_cckd}
    losses = ", ".join(f"{name} {value:.3f}" for name, value in terms.items() if value)
    dsc = "" if math.isnan(row.val_dsc) else f", val DSC {row.val_dsc:.3f}"
    left = elapsed / row.epoch * (epochs - row.epoch)
    return f"epoch {row.epoch}/{epochs}: {losses}{dsc}, {left:.0f} s left"
