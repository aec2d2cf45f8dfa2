"""Self-distillation of a DINO (Caron et al., 2021), resumable.

A student sees every crop of an image, a teacher (its moving average) the global ones, and the
student learns to agree with the teacher about any other crop: about the patch tokens pooled over
each region that two crops share, because those are what the pipeline clusters (eq. 4), and, with a
`cls_weight`, about the class token, as in DINO. Regions are the generator's objects; no label tells
what they are. The student has to find the teacher's region among all of the batch
(`region_contrast`), or to agree as with class tokens (`region_loss: dino`). What was tried is in
resources/compact_dino.md.

Every random choice of a step follows from (seed, step) and every image from (seed, image number),
so a resumed run equals an uninterrupted one.
"""

import logging
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from umsam.devices import has_bfloat16
from umsam.errors import InputError
from umsam.files import atomic_write
from umsam.pretraining.dino_crops import Crops, multi_crop, pool_regions
from umsam.pretraining.dino_loss import (
    ProjectionHead,
    dino_loss,
    region_contrast,
    update_centre,
    update_teacher,
)
from umsam.pretraining.procedural import random_scene
from umsam.pretraining.settings import from_configuration
from umsam.pretraining.tissue_scenes import tissue_pair
from umsam.models.compact_dino import PATCH, TRAINED_SIZE, build_compact_dino

log = logging.getLogger(__name__)

Source = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Image number -> renders [V, H, W] in [0, 1] and region numbers [V, H, W] (-1: no region)."""


@dataclass(frozen=True)
class DinoSettings:
    """What the run is. The first nine are worth changing; the rest are DINO's own values."""

    steps: int = 4500
    batch_size: int = 16
    images: int = 8000  # distinct images; each is made when first drawn
    learning_rate: float = 5e-4
    weight_decay: float = 0.04
    cls_weight: float = 0.0  # of the class token's loss, beside 1 for the regions
    region_loss: str = "contrast"  # or "dino"
    transplant: float = 0.3  # share of the crops whose regions are put into another image
    seed: int = 0
    regions: int = 8  # per image, at most
    region_patches: float = 1.5  # a region counts in a crop if it covers this many patches
    global_size: int = TRAINED_SIZE
    local_size: int = 32
    locals: int = 2
    global_zoom: tuple[float, float] = (0.75, 1.35)  # source px per crop px
    local_zoom: tuple[float, float] = (0.75, 1.35)
    out_dim: int = 1024
    warmup: float = 0.05  # share of the steps
    freeze_prototypes: float = 0.02  # share of the steps
    teacher_momentum: float = 0.99  # rises to 1 by a cosine
    centre_momentum: float = 0.9
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    clip_norm: float = 3.0
    bfloat16: bool | None = None  # matrix products in it; None: where the device has it


def dino_settings(configured: dict[str, Any]) -> DinoSettings:
    """The defaults with the configuration's keys over them; `InputError` names what is unknown."""
    settings = from_configuration(DinoSettings, configured, "pretraining.dino")
    if settings.region_loss not in ("contrast", "dino"):
        raise InputError(
            f"configuration: pretraining.dino.region_loss is {settings.region_loss!r}; "
            "it must be contrast or dino."
        )
    return settings


def adaptation(steps: int, images: int, patch: int) -> DinoSettings:
    """For a transformer that has learned already: small steps, and regions alone.

    Crops have as many patches as in the training of the compact DINO.
    """
    size = TRAINED_SIZE // PATCH * patch
    return DinoSettings(
        steps=steps, images=images, batch_size=10, learning_rate=1e-4,
        global_size=size, local_size=size // 2,
    )  # fmt: skip


class Branch(nn.Module):
    """A vision transformer with one head for the class token and one for pooled regions."""

    def __init__(self, backbone: nn.Module, out_dim: int, standardise_regions: bool) -> None:
        super().__init__()
        self.standardise_regions = standardise_regions
        self.backbone = backbone
        self.cls_head = ProjectionHead(self.backbone.embed_dim, out_dim)
        self.region_head = ProjectionHead(self.backbone.embed_dim, out_dim)

    def forward(self, crops: Crops, valid: Tensor, bfloat16: bool) -> tuple[Tensor, Tensor]:
        """Scores of the crops [N, K] and codes of their regions [N, R, C], in float32.

        Regions that are not `valid` [N, R] get zeros, and have no part in the others' codes.
        """
        with torch.autocast(crops.images.device.type, torch.bfloat16, enabled=bfloat16):
            tokens = self.backbone.forward_features(crops.images)
        tokens = tokens.float()
        pooled = pool_regions(tokens[:, self.backbone.num_prefix_tokens :], crops.coverage)
        codes = self.region_head.code(pooled[valid], self.standardise_regions)
        regions = codes.new_zeros(*valid.shape, codes.shape[-1])
        regions[valid] = codes
        return self.cls_head(tokens[:, 0]), regions


class DinoRun:
    """Everything that changes while training, and one step of it.

    `initial` is the transformer that the training starts from, which it leaves as it is; None: a
    compact DINO of random weights.
    """

    def __init__(
        self,
        settings: DinoSettings,
        source: Source,
        initial: nn.Module | None = None,
        device: str = "cpu",
    ) -> None:
        self.settings, self.source, self.device = settings, source, device
        self.images: dict[int, tuple[Tensor, Tensor]] = {}
        half, kind = settings.bfloat16, torch.device(device).type
        self.half = has_bfloat16(kind) if half is None else half
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            backbone = build_compact_dino(None) if initial is None else deepcopy(initial)
            student = Branch(backbone, settings.out_dim, settings.region_loss == "dino")
        self.student = student.to(device)
        self.teacher = deepcopy(self.student).requires_grad_(False)
        self.patch = backbone.patch_embed.patch_size[0]
        self.cls_centre = torch.zeros(settings.out_dim, device=device)
        self.region_centre = torch.zeros(settings.out_dim, device=device)
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.student, settings.weight_decay), betas=(0.9, 0.95)
        )
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """One update of student, teacher and centres; returns the losses."""
        s, progress = self.settings, self.step / self.settings.steps
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress, s)
        global_crops, local_crops = self._crops()

        with torch.no_grad():
            teacher_cls, teacher_regions = self._outputs(self.teacher, global_crops)
        views = [self._outputs(self.student, crops) for crops in (global_crops, local_crops)]
        student_cls, student_regions = (torch.cat(scores) for scores in zip(*views, strict=True))
        valid = torch.cat([self._valid(crops) for crops in (global_crops, local_crops)])
        valid = valid.unflatten(0, (-1, s.batch_size))

        temperatures = (s.student_temperature, s.teacher_temperature)
        cls_loss = dino_loss(student_cls, teacher_cls, self.cls_centre, *temperatures)
        if s.region_loss == "dino":
            teacher_scores = self.teacher.region_head.scores(teacher_regions)
            student_scores = self.student.region_head.scores(student_regions)
            region_loss = dino_loss(
                student_scores, teacher_scores, self.region_centre, *temperatures, valid
            )
            self.region_centre = update_centre(
                self.region_centre, teacher_scores, s.centre_momentum, valid[:2]
            )
        else:
            region_loss = region_contrast(
                student_regions, teacher_regions, valid, valid[:2], s.student_temperature
            )
        loss = s.cls_weight * cls_loss + region_loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if progress < s.freeze_prototypes:
            for head in (self.student.cls_head, self.student.region_head):
                head.prototypes.grad = None
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), s.clip_norm)
        self.optimizer.step()

        update_teacher(self.teacher, self.student, teacher_momentum(progress, s))
        self.cls_centre = update_centre(self.cls_centre, teacher_cls, s.centre_momentum)
        self.step += 1
        values = {"cls": cls_loss, "region": region_loss, "gradient": norm}
        return {name: float(value.detach()) for name, value in values.items()}

    def _crops(self) -> tuple[Crops, Crops]:
        s = self.settings
        generator = torch.Generator().manual_seed(s.seed * 1_000_003 + self.step)
        chosen = torch.randint(s.images, (s.batch_size,), generator=generator).tolist()
        images = torch.stack([self._image(i)[0] for i in chosen]).float() / 255
        labels = torch.stack([self._image(i)[1] for i in chosen])

        def crops(size: int, count: int, zoom: tuple[float, float]) -> Crops:
            found = multi_crop(
                images, labels, size, count, s.regions, zoom, self.patch, s.transplant, generator
            )
            return found.to(self.device)

        return (
            crops(s.global_size, 2, s.global_zoom),
            crops(s.local_size, s.locals, s.local_zoom),
        )

    def _image(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self.images:
            image, labels = self.source(number)
            grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
            labels = largest_regions(labels, self.settings.regions)
            self.images[number] = torch.from_numpy(grey), torch.from_numpy(labels)
        return self.images[number]

    def _outputs(self, branch: Branch, crops: Crops) -> tuple[Tensor, Tensor]:
        """`Branch.forward` as [crops of an image, images, (regions,) ...]."""
        cls, regions = branch(crops, self._valid(crops), self.half)
        return (
            cls.unflatten(0, (-1, self.settings.batch_size)),
            regions.unflatten(0, (-1, self.settings.batch_size)),
        )

    def _valid(self, crops: Crops) -> Tensor:
        return crops.coverage.sum(-1) >= self.settings.region_patches

    def state_dict(self) -> dict[str, Any]:
        return {
            "settings": repr(asdict(self.settings)),
            "step": self.step,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "cls_centre": self.cls_centre,
            "region_centre": self.region_centre,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `InputError` if the state belongs to a run with other settings."""
        if state["settings"] != repr(asdict(self.settings)):
            raise InputError("the state file is of other settings: delete it to start anew")
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.cls_centre, self.region_centre = state["cls_centre"], state["region_centre"]
        self.step = state["step"]


def train_dino(
    settings: DinoSettings,
    source: Source,
    state_file: Path | None = None,
    save_every: int = 100,
    monitor: Callable[[nn.Module], dict[str, float]] | None = None,
    until: int | None = None,
    initial: nn.Module | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Train and return the teacher's backbone, in evaluation mode.

    state_file: written every `save_every` steps; if it is there, training goes on from it.
    monitor: scores of the teacher's backbone, logged whenever the state is due.
    until: stop (with the state written) at this step of the whole schedule.
    initial: the transformer to start from; None: a compact DINO of random weights.
    """
    run = DinoRun(settings, source, initial, device)
    if state_file is not None and state_file.is_file():
        run.load_state_dict(torch.load(state_file, map_location=device, weights_only=True))
        log.info("going on from %s at step %d", state_file, run.step)
    end = settings.steps if until is None else min(until, settings.steps)
    first, start = run.step, time.perf_counter()
    recent: list[dict[str, float]] = []
    while run.step < end:
        recent = [*recent[-24:], run.train_step()]
        if run.step % 25 == 0:
            mean = {name: np.mean([values[name] for values in recent]) for name in recent[0]}
            rate = (run.step - first) / (time.perf_counter() - start)
            log.info(
                "compact DINO: step %d/%d, loss %.3f (class token) + %.3f (regions), "
                "gradient %.2f, %.0f s left",
                run.step, settings.steps, mean["cls"], mean["region"], mean["gradient"],
                (end - run.step) / rate,
            )  # fmt: skip
        if run.step % save_every == 0 or run.step == end:
            if state_file is not None:
                with atomic_write(state_file) as temporary:
                    torch.save(run.state_dict(), temporary)
            if monitor is not None:
                scores = monitor(run.teacher.backbone)
                named = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
                log.info("compact DINO: step %d, %s", run.step, named)
    return run.teacher.backbone.eval()


def learning_rate(progress: float, settings: DinoSettings) -> float:
    """Linear warm-up, then a cosine to a thousandth of the peak; `progress` in [0, 1]."""
    if progress < settings.warmup:
        return settings.learning_rate * (progress + 1 / settings.steps) / settings.warmup
    along = (progress - settings.warmup) / (1 - settings.warmup)
    low = settings.learning_rate / 1000
    return low + (settings.learning_rate - low) * (1 + math.cos(math.pi * along)) / 2


def teacher_momentum(progress: float, settings: DinoSettings) -> float:
    """From its first value to 1 along a cosine."""
    return 1 - (1 - settings.teacher_momentum) * (1 + math.cos(math.pi * progress)) / 2


def largest_regions(labels: np.ndarray, count: int) -> np.ndarray:
    """Renumber regions 0, 1, ... by falling area; after the first `count`: -1. int16."""
    values, inverse, areas = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.full(len(values), -1, np.int16)
    order = [i for i in np.argsort(-areas, kind="stable") if values[i] >= 0][:count]
    rank[order] = np.arange(len(order))
    return rank[inverse].reshape(labels.shape)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases, norms and single vectors are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def procedural_source(seed: int, size: int = 128) -> Source:
    """Every fourth number a scene of `procedural.py`, the others pairs of `tissue_scenes.py`.

    A scene's regions are the innermost object at each pixel and what lies outside of all objects.
    """

    def source(number: int) -> tuple[np.ndarray, np.ndarray]:
        if number % 4:
            return tissue_pair(seed * 1_000_003 + number, size)
        scene = random_scene(seed * 1_000_003 + number, size)
        return np.stack([scene.image] * 2), np.stack([scene.innermost + 1] * 2)

    return source
