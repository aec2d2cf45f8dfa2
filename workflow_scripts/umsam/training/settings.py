"""The settings of one training."""

from dataclasses import dataclass

from umsam.errors import InputError
from umsam.training.unet import STRIDE


@dataclass(frozen=True)
class TrainingSettings:
    """The keys of the training section that a variant uses; `config.yaml` explains them.

    `smooth_z` and `largest_component` come from the prediction section: validation uses the same
    postprocessing as the predictions.
    """

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
    smooth_z: float = 0.0
    largest_component: bool = False

    def __post_init__(self) -> None:
        if self.patch_size % STRIDE or self.patch_size < 2 * STRIDE:
            raise InputError(
                f"configuration: training.patch_size is {self.patch_size}, but the UNet needs a "
                f"multiple of {STRIDE} that is at least {2 * STRIDE}."
            )
