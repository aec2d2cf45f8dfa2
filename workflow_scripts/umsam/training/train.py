"""Train the UNet of one variant: SGD with polynomial decay on the losses of eq. 6-9."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from umsam.errors import InputError
from umsam.evaluation.dice import dice
from umsam.postprocessing import largest_component
from umsam.training.checkpoint import Checkpoint
from umsam.training.dataset import Batch, SliceDataset, TrainingCase
from umsam.training.objective import Losses, batch_losses
from umsam.training.predict import predict_volume
from umsam.training.settings import TrainingSettings
from umsam.training.unet import UNet
from umsam.training.variants import Variant

log = logging.getLogger(__name__)

REPORT_INTERVAL = 5  # seconds between two lines of the log


@dataclass(frozen=True)
class Epoch:
    """One row of the training log: means over the epoch's steps, and the validation DSC or NaN."""

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
class Training:
    """The result of a training.

    Attributes
    ----------
    best
        The epoch with the best validation DSC, or the last epoch without a validation.
    last
        The last epoch.
    history
        The training log, one row per epoch.
    """

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
        The training slices, with SAM's features if `variant` distills.
    variant
        The loss terms to use.
    settings
        The settings of the training.
    seed
        Seed of the initial weights, slice order, augmentation, noise and dropout. On the CPU, the
        same seed and number of threads give bit-identical weights.
    device
        Where the network is trained.
    validation
        Volumes with their reference labels; their mean 3D DSC selects the best epoch.

    Raises
    ------
    InputError
        A loss is no longer finite.
    """
    rng = np.random.default_rng(seed)
    noise = torch.Generator(device).manual_seed(seed)
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices):  # initial weights and dropout use the global generator
        torch.manual_seed(seed)
        unet = UNet(spacing=settings.spacing)
        unet.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        unet.train()
        return _train_epochs(unet, dataset, variant, settings, rng, noise, device, validation)


def _train_epochs(
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
        average_weights = get_ema_multi_avg_fn(settings.ema_decay)
        average = AveragedModel(unet, multi_avg_fn=average_weights, use_buffers=True)
    result = cast(UNet, average.module) if average else unet
    history: list[Epoch] = []
    best: Checkpoint | None = None
    start = last_report = time.perf_counter()

    for epoch in range(1, settings.epochs + 1):
        epoch_start = time.perf_counter()
        lr = float(schedule.get_last_lr()[0])
        step_losses = []
        for batch in _batches(dataset, settings.batch_size, rng):
            losses = batch_losses(unet, batch, variant, settings, rng, noise, device)
            optimizer.zero_grad(set_to_none=True)
            losses.loss.backward()
            optimizer.step()
            schedule.step()
            if average:
                average.update_parameters(unet)
            step_losses.append(torch.stack(list(vars(losses).values())).detach())
        values = torch.stack(step_losses).mean(dim=0).tolist()
        means = dict(zip(Losses.__annotations__, values, strict=True))
        _check_finite(means, epoch, settings)

        is_last = epoch == settings.epochs
        validate = bool(validation) and (epoch % settings.validate_every == 0 or is_last)
        val_dsc = math.nan
        if validate:
            smooth, largest = settings.smooth_z, settings.largest_component
            val_dsc = mean_dsc(result, validation, device, smooth=smooth, largest=largest)
        now = time.perf_counter()
        seconds = now - epoch_start
        history.append(Epoch(epoch, lr, **means, val_dsc=val_dsc, seconds=seconds))
        if validate and (best is None or val_dsc >= best.val_dsc):  # a tie goes to the later epoch
            best = _checkpoint(result, epoch, val_dsc)
        if now - last_report > REPORT_INTERVAL or is_last:
            log.info("%s", _describe_progress(history[-1], settings.epochs, now - start))
            last_report = now

    last = _checkpoint(result, settings.epochs, history[-1].val_dsc)
    return Training(best or last, last, history)


def mean_dsc(
    unet: UNet,
    cases: Sequence[TrainingCase],
    device: str,
    smooth: float = 0.0,
    largest: bool = False,
) -> float:
    """Average the 3D DSC of the network's masks and the labels over volumes.

    Parameters
    ----------
    unet
        The network on `device`.
    cases
        Volumes with their reference labels.
    device
        Where the network runs.
    smooth
        See `predict_volume`.
    largest
        Keep only the largest component of each mask.
    """
    scores = []
    for case in cases:
        mask = predict_volume(unet, case.image, case.spacing, device, smooth=smooth)
        scores.append(dice(largest_component(mask) if largest else mask, case.label))
    return float(np.mean(scores))


def _batches(dataset: SliceDataset, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield each slice of an epoch once, in random order; the last batch may be smaller."""
    order = dataset.epoch(rng).tolist()
    for start in range(0, len(order), size):
        yield dataset.batch(order[start : start + size])


def _checkpoint(unet: UNet, epoch: int, val_dsc: float) -> Checkpoint:
    weights = {name: value.detach().cpu().clone() for name, value in unet.state_dict().items()}
    return Checkpoint(weights, epoch, val_dsc, unet.spacing)


def _check_finite(means: dict[str, float], epoch: int, settings: TrainingSettings) -> None:
    names = [name for name, value in means.items() if not math.isfinite(value)]
    if names:
        raise InputError(
            f"the training diverged in epoch {epoch}: {', '.join(names)} not finite. Lower "
            f"training.learning_rate ({settings.learning_rate}) or, if the variant distills, "
            f"training.lambda_1 ({settings.lambda_1})."
        )


def _describe_progress(row: Epoch, epochs: int, elapsed: float) -> str:
    terms = {"ce": row.loss_ce, "dice": row.loss_dice, "cfkd": row.loss_cfkd, "cckd": row.loss_cckd}
    losses = ", ".join(f"{name} {value:.3f}" for name, value in terms.items() if value)
    dsc = "" if math.isnan(row.val_dsc) else f", val DSC {row.val_dsc:.3f}"
    left = elapsed / row.epoch * (epochs - row.epoch)
    return f"epoch {row.epoch}/{epochs}: {losses}{dsc}, {left:.0f} s left"
