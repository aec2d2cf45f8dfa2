"""Self-supervised training of the compact DINO on generated images.

The student sees global and local crops of an image; the teacher, its moving average, sees the
global crops. The loss compares the patch tokens pooled over a region (eq. 4), because the pipeline
clusters such features: the student identifies each of its regions among all regions of the batch
that the teacher sees (`region_contrast`). Regions are the objects of the image generator.

All random choices of a step follow from (seed, step), and each image from (seed, image number), so
a resumed run equals an uninterrupted one. The number of CPU threads changes the last digits; it is
`threads` of the rule `pretrain_dino`, which Snakemake limits to --cores.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from umsam.devices import has_bfloat16
from umsam.errors import InputError
from umsam.files import atomic_write
from umsam.models.compact_dino import PATCH, TRAINED_SIZE, build_compact_dino
from umsam.pretraining.dino_crops import Crops, multi_crop, pool_regions
from umsam.pretraining.procedural import random_scene
from umsam.pretraining.region_contrast import ProjectionHead, region_contrast
from umsam.pretraining.tissue_scenes import tissue_pair

log = logging.getLogger(__name__)

Source = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Image number -> renders [V, H, W] in [0, 1] and region numbers [V, H, W] (-1: no region)."""

GLOBAL_CROPS = 2
"""Crops of an image that the teacher sees."""
SAVE_EVERY = 100
"""Steps between two states on disk."""


@dataclass(frozen=True)
class DinoSettings:
    """Settings of a run. The first six are worth changing."""

    steps: int = 4500
    batch_size: int = 16
    images: int = 8000
    """Number of different images; each is generated when it is first drawn."""
    learning_rate: float = 5e-4
    transplant_share: float = 0.3
    """Share of the crops whose regions are put into another image."""
    seed: int = 0
    weight_decay: float = 0.04
    regions: int = 8
    """Regions of an image, at most; the largest are kept."""
    region_patches: float = 1.5
    """A region counts in a crop if it covers this many patches."""
    global_size: int = TRAINED_SIZE
    local_size: int = 32
    local_crops: int = 2
    global_zoom: tuple[float, float] = (0.75, 1.35)
    """Range of image pixels per crop pixel."""
    local_zoom: tuple[float, float] = (0.75, 1.35)
    warm_up_share: float = 0.05
    """Share of the steps over which the learning rate rises."""
    teacher_momentum: float = 0.99
    """Initial value; it rises to 1 along a cosine."""
    temperature: float = 0.1
    clip_norm: float = 3.0
    bfloat16: bool | None = None
    """Compute matrix products in bfloat16. None: if the device supports it in hardware."""


class Branch(nn.Module):
    """A vision transformer with a projection head for pooled regions."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone
        self.region_head = ProjectionHead(backbone.embed_dim)

    def forward(self, crops: Crops, valid: Tensor, bfloat16: bool) -> Tensor:
        """Codes of the crops' regions [N, R, C], float32; zeros where not `valid` [N, R]."""
        with torch.autocast(crops.images.device.type, torch.bfloat16, enabled=bfloat16):
            tokens = self.backbone.forward_features(crops.images)
        patches = tokens.float()[:, self.backbone.num_prefix_tokens :]
        valid_codes = self.region_head(pool_regions(patches, crops.coverage)[valid])
        codes = valid_codes.new_zeros(*valid.shape, valid_codes.shape[-1])
        codes[valid] = valid_codes
        return codes


class DinoRun:
    """The state of a training run, and one step of it."""

    def __init__(self, settings: DinoSettings, source: Source, device: str = "cpu") -> None:
        self.settings, self.source, self.device = settings, source, device
        self.images: dict[int, tuple[Tensor, Tensor]] = {}
        use_bfloat16 = settings.bfloat16
        if use_bfloat16 is None:
            use_bfloat16 = has_bfloat16(torch.device(device).type)
        self.bfloat16 = use_bfloat16
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            student = Branch(build_compact_dino(None))
        self.student = student.to(device)
        self.teacher = AveragedModel(self.student).requires_grad_(False)
        self.teacher.update_parameters(self.student)  # the first call copies, later ones average
        self.optimizer = torch.optim.AdamW(
            param_groups_weight_decay(self.student, settings.weight_decay), betas=(0.9, 0.95)
        )
        self.step = 0

    @property
    def teacher_backbone(self) -> VisionTransformer:
        """The averaged transformer, which becomes the checkpoint."""
        return cast(Branch, self.teacher.module).backbone

    def train_step(self) -> dict[str, float]:
        """Update student and teacher once; returns the loss and the norm of the gradient."""
        s, progress = self.settings, self.step / self.settings.steps
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress, s)
        global_crops, local_crops = self._crops()

        with torch.no_grad():
            teacher_codes = self._codes(self.teacher, global_crops)
        student_codes = torch.cat(
            [self._codes(self.student, crops) for crops in (global_crops, local_crops)]
        )
        valid = torch.cat([self._valid(crops) for crops in (global_crops, local_crops)])
        valid = valid.unflatten(0, (-1, s.batch_size))
        loss = region_contrast(
            student_codes, teacher_codes, valid, valid[:GLOBAL_CROPS], s.temperature
        )

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), s.clip_norm)
        self.optimizer.step()
        self.teacher.multi_avg_fn = get_ema_multi_avg_fn(teacher_momentum(progress, s))
        self.teacher.update_parameters(self.student)
        self.step += 1
        return {"loss": float(loss.detach()), "gradient": float(norm)}

    def save(self, path: Path) -> None:
        """Write the state of the run, from which `resume` continues."""
        state = {
            "settings": repr(self.settings),
            "step": self.step,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_write(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Load a state. Raises `InputError` if it belongs to a run with other settings."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != repr(self.settings):
            raise InputError(
                f"{path} belongs to a run with other settings. Restore the settings under "
                "pretraining.dino, or delete the file to start a new run."
            )
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        log.info("resuming from %s at step %d", path, self.step)

    def _crops(self) -> tuple[Crops, Crops]:
        """The global and the local crops of this step's images."""
        s = self.settings
        generator = torch.Generator().manual_seed(s.seed * 1_000_003 + self.step)
        numbers = torch.randint(s.images, (s.batch_size,), generator=generator).tolist()
        images = torch.stack([self._image(number)[0] for number in numbers]).float() / 255
        labels = torch.stack([self._image(number)[1] for number in numbers])

        def crop(size: int, count: int, zoom: tuple[float, float]) -> Crops:
            crops = multi_crop(
                images, labels, size, count, s.regions, zoom, PATCH, s.transplant_share, generator
            )
            return crops.to(self.device)

        return (
            crop(s.global_size, GLOBAL_CROPS, s.global_zoom),
            crop(s.local_size, s.local_crops, s.local_zoom),
        )

    def _image(self, number: int) -> tuple[Tensor, Tensor]:
        """Renders uint8 [V, H, W] and region numbers [V, H, W] of an image."""
        if number not in self.images:
            image, labels = self.source(number)
            grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
            labels = largest_regions(labels, self.settings.regions)
            self.images[number] = torch.from_numpy(grey), torch.from_numpy(labels)
        return self.images[number]

    def _codes(self, branch: nn.Module, crops: Crops) -> Tensor:
        """`Branch.forward` as [crops of an image, images, regions, C]."""
        codes = branch(crops, self._valid(crops), self.bfloat16)
        return codes.unflatten(0, (-1, self.settings.batch_size))

    def _valid(self, crops: Crops) -> Tensor:
        """Which regions cover enough of which crop, bool [N, R]."""
        return crops.coverage.sum(-1) >= self.settings.region_patches


def train_dino(
    settings: DinoSettings,
    source: Source,
    state_file: Path | None = None,
    monitor: Callable[[VisionTransformer], dict[str, float]] | None = None,
    stop_after: int | None = None,
    device: str = "cpu",
) -> VisionTransformer:
    """Train, and return the teacher's backbone in evaluation mode.

    state_file: written every `SAVE_EVERY` steps; if it exists, training resumes from it.
    monitor: computes scores of the teacher's backbone, which are logged every `SAVE_EVERY` steps.
    stop_after: end the run early, after this step; the state is written.

    Raises `InputError` if the state belongs to a run with other settings.
    """
    run = DinoRun(settings, source, device)
    if state_file is not None and state_file.is_file():
        run.resume(state_file)
    end = settings.steps if stop_after is None else min(stop_after, settings.steps)
    first, start = run.step, time.perf_counter()
    recent: list[dict[str, float]] = []
    while run.step < end:
        recent = [*recent[-24:], run.train_step()]
        if run.step % 25 == 0:
            loss, gradient = (
                np.mean([values[name] for values in recent]) for name in ("loss", "gradient")
            )
            rate = (run.step - first) / (time.perf_counter() - start)
            log.info(
                "compact DINO: step %d/%d, loss %.3f, gradient %.2f, %.0f s left",
                *(run.step, settings.steps, loss, gradient, (end - run.step) / rate),
            )
        if run.step % SAVE_EVERY == 0 or run.step == end:
            if state_file is not None:
                run.save(state_file)
            if monitor is not None:
                scores = monitor(run.teacher_backbone)
                text = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
                log.info("compact DINO: step %d, %s", run.step, text)
    return run.teacher_backbone.eval()


def learning_rate(progress: float, settings: DinoSettings) -> float:
    """Linear warm-up, then a cosine to a thousandth of the peak; `progress` in [0, 1]."""
    if progress < settings.warm_up_share:
        return settings.learning_rate * (progress + 1 / settings.steps) / settings.warm_up_share
    fraction = (progress - settings.warm_up_share) / (1 - settings.warm_up_share)
    low = settings.learning_rate / 1000
    return low + (settings.learning_rate - low) * (1 + math.cos(math.pi * fraction)) / 2


def teacher_momentum(progress: float, settings: DinoSettings) -> float:
    """Rises from its initial value to 1 along a cosine; `progress` in [0, 1]."""
    return 1 - (1 - settings.teacher_momentum) * (1 + math.cos(math.pi * progress)) / 2


def largest_regions(labels: np.ndarray, count: int) -> np.ndarray:
    """Renumber regions 0, 1, ... by decreasing area; all but the first `count` become -1. int16."""
    values, inverse, areas = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.full(len(values), -1, np.int16)
    order = [i for i in np.argsort(-areas, kind="stable") if values[i] >= 0][:count]
    rank[order] = np.arange(len(order))
    return rank[inverse].reshape(labels.shape)


def procedural_source(seed: int, size: int = 128) -> Source:
    """Every fourth image is a scene of `procedural.py`, the others are tissue pairs.

    The regions of a scene are the innermost object at each pixel, and the background.
    """

    def source(number: int) -> tuple[np.ndarray, np.ndarray]:
        if number % 4:
            return tissue_pair(seed * 1_000_003 + number, size)
        scene = random_scene(seed * 1_000_003 + number, size)
        return np.stack([scene.image] * 2), np.stack([scene.innermost + 1] * 2)

    return source
