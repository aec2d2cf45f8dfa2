"""The objective of the training (eq. 9) on one augmented batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from umsam.training.augmentation import (
    add_noise,
    change_contrast,
    random_affines,
    sample_images,
    sample_sam_features,
)
from umsam.training.dataset import Batch
from umsam.training.distillation import (
    class_contrastive_loss,
    class_feature_loss,
    pseudo_label_losses,
    student_and_teacher_prototypes,
)
from umsam.training.settings import TrainingSettings
from umsam.training.unet import UNet
from umsam.training.variants import Variant


@dataclass(frozen=True)
class Losses:
    """The unweighted terms of eq. 9, and `loss`, their weighted sum."""

    loss: Tensor
    loss_ce: Tensor
    loss_dice: Tensor
    loss_cfkd: Tensor
    loss_cckd: Tensor


def batch_losses(
    unet: UNet,
    batch: Batch,
    variant: Variant,
    settings: TrainingSettings,
    rng: np.random.Generator,
    noise: torch.Generator,
    device: str,
) -> Losses:
    """Augment a batch, run the network and compute the terms of eq. 9.

    Parameters
    ----------
    unet
        The network on `device`.
    batch
        Slices with their labels, and with SAM's features if `variant` distills.
    variant
        The loss terms to compute; the others are 0.
    settings
        Augmentation and weights of the terms.
    rng
        Source of the affine maps.
    noise
        Source of intensity noise and contrast, on `device`.
    device
        Where everything is computed.
    """
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
    label = sample_images(batch.label.to(device).float(), affines, mode="nearest")[:, 0]
    if settings.gamma:
        image = change_contrast(image, settings.gamma, noise)
    image = add_noise(image, settings.noise_std, settings.noise_prob, noise)
    logits, bottleneck = unet(image)

    cross_entropy, dice = pseudo_label_losses(logits, label)
    feature = contrastive = torch.zeros((), device=device)
    if variant.distills:
        if batch.sam_features is None:
            raise ValueError("a variant that distills needs SAM's features")
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
