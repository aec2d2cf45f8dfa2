"""Trains the compact SAM on procedural scenes, much as SAM was trained, in hours on a CPU.

One encoding of an image serves several prompts: points in objects, boxes, and background points. A
point lies in a chain of nested objects, which are matched with the three outputs so that each
output is trained. The IoU head learns the true IoU of each output, which is 0 for background
points. In addition, an auxiliary head maps dozens of anchor points to masks directly from the
upscaled embedding. It costs less than one prompt of the decoder, and it teaches the encoder which
pixels belong together before the decoder has learned what a prompt is.

On the CPU the result depends on the setting `processes`, because each process computes its share
of the batch on one thread; it does not depend on Snakemake's threads.
"""

import logging
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import Sam
from threadpoolctl import threadpool_limits
from timm.optim import param_groups_weight_decay
from torch import distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from umsam.devices import default_device, has_bfloat16
from umsam.errors import InputError
from umsam.files import atomic_write
from umsam.models.compact_sam import IMAGE_SIZE, build_compact_sam, save_compact_sam
from umsam.models.sam import load_sam
from umsam.pretraining.sam_calibration import calibrate
from umsam.pretraining.sam_decoding import AnchorMasks
from umsam.pretraining.sam_objective import WEIGHTS, losses, validate
from umsam.pretraining.sam_samples import collate, make_sample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamSettings:
    """Settings of a run. A run can only be resumed with the same values."""

    initial: str | None = None
    """Checkpoint of a compact SAM to start from. None: random weights."""
    steps: int = 13000
    batch_size: int = 8
    points: int = 5
    boxes: int = 1
    background_points: int = 2
    """Points that lie in no object; the true IoU of their masks is 0."""
    anchors: int = 24
    """For images of 128 x 128; larger images, whose masks cost more, have fewer."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 150
    """Steps over which the learning rate rises."""
    decay_share: float = 0.5
    """Share of the steps, at the end, over which the learning rate falls to 2 %."""
    small_share: float = 0.30
    """Share of the steps, at the start, that use images of 128 x 128."""
    anchor_share: float = 0.05
    """Share of the steps, at the start, that train anchors only, without the decoder."""
    ema_decay: float = 0.998
    """Of the moving average of the weights, which becomes the checkpoint."""
    seed: int = 0
    validate_every: int = 250
    save_every: int = 50
    validation_scenes: int = 32
    calibration_scenes: int = 300
    processes: int = 2
    """On a CPU each process computes its share of a batch on one core, and the gradients are
    averaged. Must divide `batch_size`."""
    bfloat16: bool | None = None
    """Compute matrix products in bfloat16. None: if the device supports it in hardware."""


class _Samples(Dataset):
    """Samples of one process; the step determines the image size, the sample number the scene."""

    def __init__(
        self, settings: SamSettings, step: int, sizes: tuple[int, int], rank: int, processes: int
    ) -> None:
        self.settings, self.step, self.sizes, self.rank = settings, step, sizes, rank
        self.share = settings.batch_size // processes

    def __len__(self) -> int:
        return (self.settings.steps - self.step) * self.share

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        s = self.settings
        step = self.step + index // self.share
        number = step * s.batch_size + self.rank * self.share + index % self.share
        size = self.sizes[0 if step < s.small_share * s.steps else 1]
        anchors = round(s.anchors * (self.sizes[0] / size) ** 2)  # at about equal cost
        prompts = s.points, s.boxes, s.background_points
        return make_sample((s.seed, 1, number), size, *prompts, anchors)


def _use_one_thread(worker: int) -> None:
    """Limit BLAS in a process that makes scenes: its matrix products are small."""
    threadpool_limits(1)


def learning_rate(step: int, settings: SamSettings) -> float:
    """Linear warm-up, constant, then a cosine to 2 % over the last `decay_share` of the steps."""
    start = (1 - settings.decay_share) * settings.steps
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    if step < start:
        return settings.learning_rate
    fraction = (step - start) / max(1.0, settings.steps - start)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))


def _average_gradients(parameters: list[nn.Parameter], processes: int) -> None:
    """Replace all gradients by their mean over the processes, in one message."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _read_state(path: Path, settings: SamSettings, device: str) -> dict[str, Any]:
    """The state of an interrupted run; `InputError` if the run had other settings."""
    state = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != repr(settings):
        raise InputError(
            f"{path} belongs to a run with other settings. Restore the settings under "
            "pretraining.sam, or delete the file to start a new run."
        )
    return state


def _state_path(output: Path) -> Path:
    """The file that holds the state of an unfinished run."""
    return output.with_name(output.name + ".resume.pt")


class _Run:
    """The state of a run: network, moving average of its weights, anchor head, optimiser, step."""

    def __init__(self, settings: SamSettings, device: str) -> None:
        torch.manual_seed(settings.seed)
        start = settings.initial
        self.settings, self.step = settings, 0
        self.sam = build_compact_sam() if start is None else load_sam("compact", start, "cpu")
        self.average, self.aux = AveragedModel(build_compact_sam()), AnchorMasks()
        for module in (self.sam, self.average, self.aux):
            module.to(device)
        self.average.update_parameters(self.sam)  # the first call copies, later ones average
        self.sam.image_encoder.to(memory_format=torch.channels_last)
        trained = nn.ModuleList([self.sam, self.aux])
        self.parameters = list(trained.parameters())
        self.optimiser = torch.optim.AdamW(
            param_groups_weight_decay(trained, settings.weight_decay), betas=(0.9, 0.98)
        )
        self.device, self.kind = device, torch.device(device).type
        use_bfloat16 = settings.bfloat16
        self.bfloat16 = has_bfloat16(self.kind) if use_bfloat16 is None else use_bfloat16

    @property
    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        names = ("sam", "average", "aux", "optimiser")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path) -> None:
        """Write the state of the run, from which `resume` continues."""
        state = {name: part.state_dict() for name, part in self._parts.items()}
        with atomic_write(path) as temporary:
            torch.save({"settings": repr(self.settings), "step": self.step, **state}, temporary)

    def resume(self, path: Path) -> None:
        """Load a state. Raises `InputError` if it belongs to a run with other settings."""
        state = _read_state(path, self.settings, self.device)
        self.step = state["step"]
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        log.info("resuming from %s at step %d", path, self.step)

    def update(self, batch: dict[str, torch.Tensor], processes: int) -> dict[str, torch.Tensor]:
        """One step, together with the other processes; returns the terms of the loss."""
        settings, share = self.settings, self.step / self.settings.steps
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        self.sam.train()
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.bfloat16):
            terms = losses(self.sam, self.aux, batch, decoder=share >= settings.anchor_share)
        if share >= settings.small_share:
            terms.pop("hint", None)  # the decoder does not need it any more
        self.optimiser.zero_grad(set_to_none=True)
        weighted = [weight * terms[name] for name, weight in WEIGHTS.items() if name in terms]
        sum(weighted, start=torch.zeros(())).backward()
        if processes > 1:
            _average_gradients(self.parameters, processes)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(settings.ema_decay, self.step / (self.step + 10))
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.average.update_parameters(self.sam)
        return {name: value.detach() for name, value in terms.items()}


class _Report:
    """Logs the mean of the loss terms and the remaining time every 25 steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._restart()

    def _restart(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.start, self.count = time.monotonic(), 0

    def add(self, step: int, terms: dict[str, torch.Tensor]) -> None:
        """Count the loss terms of a step; log every 25 steps and at the last one."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if step % 25 and step != self.steps:
            return
        rate = (time.monotonic() - self.start) / self.count
        means = " ".join(f"{name} {v / self.count:.4f}" for name, v in self.sums.items())
        left = rate * (self.steps - step) / 60
        log.info("step %d/%d %s %.2f s/step, %.0f min left", step, self.steps, means, rate, left)
        self._restart()

    def add_validation(self, step: int, scores: dict[str, float]) -> None:
        """Log validation scores, and exclude their time from the time per step."""
        log.info("validation at step %d: %s", step, {k: round(v, 3) for k, v in scores.items()})
        self.start = time.monotonic()


def train_compact_sam(
    output: Path,
    settings: SamSettings,
    sizes: tuple[int, int] = (128, IMAGE_SIZE),
    stop_after: int | None = None,
    workers: int = 1,
    device: str = "cpu",
) -> Sam:
    """Train a compact SAM, or resume from `<output>.resume.pt`, and write the checkpoint.

    The checkpoint holds the averaged weights in half precision. Writing it deletes the state file.

    sizes: sides of the small and the large images.
    stop_after: end the run after this step, with the state and without the checkpoint written.
    workers: processes that make scenes.

    Raises `InputError` if `settings.initial` is missing or is not a compact SAM, or if the state
    belongs to a run with other settings.
    """
    rank, processes = 0, 1
    if distributed.is_initialized():
        rank, processes = distributed.get_rank(), distributed.get_world_size()
    first = rank == 0
    output = Path(output)
    state_path = _state_path(output)
    run, report = _Run(settings, device), _Report(settings.steps)
    if state_path.exists():
        run.resume(state_path)
    average = run.average.module
    samples = DataLoader(
        _Samples(settings, run.step, sizes, rank, processes),
        batch_size=settings.batch_size // processes,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_use_one_thread,
        prefetch_factor=8 if workers else None,
        pin_memory=run.kind == "cuda",
    )
    for batch in samples:
        terms = run.update(batch, processes)
        step, last = run.step, run.step == settings.steps
        if first:
            report.add(step, terms)
            if step % settings.validate_every == 0 or last:
                report.add_validation(
                    step, validate(average, settings.seed, settings.validation_scenes, sizes[1])
                )
            if step % settings.save_every == 0 or step == stop_after:
                run.save(state_path)
        if step == stop_after:
            return average
    if first:
        calibrate(average, settings.seed, settings.calibration_scenes, sizes[1])
        with atomic_write(output) as path:
            save_compact_sam(average, path)
        state_path.unlink(missing_ok=True)
    return average


def _train_in_process(rank: int, output: Path, settings: SamSettings, rendezvous: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=settings.processes
    )
    train_compact_sam(output, settings)
    distributed.destroy_process_group()


def pretrain(output: Path | str, settings: SamSettings, threads: int = 2) -> None:
    """`train_compact_sam` on a GPU, or on the CPU in `settings.processes` processes of one thread.

    On a busy machine, processes that synchronise once per step lose less time than threads that
    synchronise in every operation. With a GPU, all `threads` but one make scenes.

    Raises `InputError` as `train_compact_sam` does, or if the processes cannot share a batch.
    """
    output = Path(output)
    device = default_device()
    if device != "cpu":
        train_compact_sam(output, settings, workers=max(1, threads - 1), device=device)
        return
    if settings.batch_size % settings.processes:
        raise InputError(
            f"pretraining.sam: batch_size {settings.batch_size} is not a multiple of processes "
            f"{settings.processes}; change one of them."
        )
    if _state_path(output).exists():
        _read_state(_state_path(output), settings, device)  # to report an error in this process
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(
            _train_in_process,
            (output, settings, f"{folder}/rendezvous"),
            nprocs=settings.processes,
            start_method="fork",
        )
