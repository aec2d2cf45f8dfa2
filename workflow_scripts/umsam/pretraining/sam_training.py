"""Trains the compact SAM on procedural scenes, as SAM was trained, but short enough for a CPU.

Per image one encoding serves several prompts (points in objects, boxes, points on nothing). A point
lies in a chain of nested objects; the three outputs are matched with the chain so that each is
trained, and the IoU head regresses the true IoU of each output, which is 0 on nothing. Besides, an
auxiliary head turns dozens of anchor points an image into masks straight from the up-scaled
embedding: it costs less than one prompt of the decoder and teaches the encoder what belongs
together before the decoder knows what a prompt is.
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
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset

from umsam.devices import default_device, has_bfloat16
from umsam.errors import InputError
from umsam.files import atomic_write
from umsam.pretraining.sam_calibration import calibrate
from umsam.pretraining.sam_decoding import AnchorMasks
from umsam.pretraining.sam_objective import WEIGHTS, losses, validate
from umsam.pretraining.sam_samples import collate, make_sample
from umsam.models.compact_sam import IMAGE_SIZE, build_compact_sam, save_compact_sam
from umsam.models.sam import load_sam

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamTraining:
    """Everything that decides the result; resuming needs the same values."""

    initial: str | None = None
    """Checkpoint of a compact SAM to start from; nothing: random weights."""
    steps: int = 13000
    batch_size: int = 8
    points: int = 5
    boxes: int = 1
    nothings: int = 2
    """Points that lie in no object; their true IoU is 0."""
    anchors: int = 24
    """On small images; fewer on large ones, as their masks cost more."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 150
    decay_share: float = 0.5
    """Share of the steps, at the end, over which the learning rate falls to 2 %."""
    small_share: float = 0.30
    """Share of the steps, at the beginning, on images of 128 x 128."""
    anchor_share: float = 0.05
    """Share of the steps, at the beginning, that train on anchors alone, without the decoder."""
    ema: float = 0.998
    seed: int = 0
    validate_every: int = 250
    save_every: int = 50
    validation_scenes: int = 32
    calibration_scenes: int = 300
    processes: int = 2
    """On a CPU each takes its share of a batch on one core; gradients are averaged. Divides
    `batch_size`."""
    bfloat16: bool | None = None
    """Matrix products in half precision; nothing: where the device has it in hardware."""


class _Samples(Dataset):
    """The samples of one process; their step decides the size, their number the scene."""

    def __init__(
        self, settings: SamTraining, step: int, sizes: tuple[int, int], rank: int, processes: int
    ):
        self.settings, self.step, self.sizes, self.rank = settings, step, sizes, rank
        self.share = settings.batch_size // processes

    def __len__(self) -> int:
        return (self.settings.steps - self.step) * self.share

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        s = self.settings
        step = self.step + index // self.share
        number = step * s.batch_size + self.rank * self.share + index % self.share
        size = self.sizes[0 if step < s.small_share * s.steps else 1]
        anchors = round(s.anchors * (self.sizes[0] / size) ** 2)  # of about equal cost
        return make_sample((s.seed, 1, number), size, s.points, s.boxes, s.nothings, anchors)


def _one_thread(worker: int) -> None:
    """Processes that make scenes; threads of BLAS would wait for each other in small products."""
    threadpool_limits(1)


def learning_rate(step: int, settings: SamTraining) -> float:
    """Linear warm-up, flat, cosine down to 2 % over the last `decay_share` of the steps."""
    start = (1 - settings.decay_share) * settings.steps
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    if step < start:
        return settings.learning_rate
    along = (step - start) / max(1.0, settings.steps - start)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along)))


def _optimiser(parameters: list[nn.Parameter], settings: SamTraining) -> torch.optim.AdamW:
    """AdamW whose weight decay spares biases and norms."""
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )


def _average_gradients(parameters: list[nn.Parameter], processes: int) -> None:
    """The mean gradient over the processes, in one message."""
    used = [p for p in parameters if p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in used])
    distributed.all_reduce(flat)
    flat /= processes
    for p, part in zip(used, flat.split([p.numel() for p in used]), strict=True):
        p.grad.copy_(part.view_as(p))


def _saved(path: Path, settings: SamTraining, device: str) -> dict[str, Any]:
    """The state of a run that was stopped; `InputError` if it was one with other settings."""
    state = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != repr(settings):
        raise InputError(f"{path}: a run with other settings was stopped. Delete it to start anew.")
    return state


def _state_of(output: Path) -> Path:
    """Where a run that makes `output` leaves its state."""
    return output.with_name(output.name + ".resume.pt")


class _Run:
    """A run at one of its steps: network, running mean of it, head of the anchors, optimiser."""

    def __init__(self, settings: SamTraining, device: str) -> None:
        torch.manual_seed(settings.seed)
        start = settings.initial
        self.settings, self.step = settings, 0
        self.sam = build_compact_sam() if start is None else load_sam("compact", start, "cpu")
        self.average, self.aux = build_compact_sam(), AnchorMasks()
        self.average.load_state_dict(self.sam.state_dict())
        for module in (self.sam, self.average, self.aux):
            module.to(device)
        self.sam.image_encoder.to(memory_format=torch.channels_last)
        self.parameters = [*self.sam.parameters(), *self.aux.parameters()]
        self.optimiser = _optimiser(self.parameters, settings)
        self.device, self.kind = device, torch.device(device).type
        half = settings.bfloat16
        self.half = has_bfloat16(self.kind) if half is None else half

    @property
    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        names = ("sam", "average", "aux", "optimiser")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        with atomic_write(path) as temporary:
            torch.save({"settings": repr(self.settings), "step": self.step, **state}, temporary)

    def resume(self, path: Path) -> None:
        state = _saved(path, self.settings, self.device)
        self.step = state["step"]
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        log.info("going on at step %d from %s", self.step, path)

    def update(self, batch: dict[str, torch.Tensor], processes: int) -> dict[str, torch.Tensor]:
        """One step, together with the other processes; gives the parts of the loss."""
        settings, share = self.settings, self.step / self.settings.steps
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        self.sam.train()
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.half):
            parts = losses(self.sam, self.aux, batch, decoder=share >= settings.anchor_share)
        if share >= settings.small_share:
            parts.pop("hint", None)  # the decoder has outgrown it
        self.optimiser.zero_grad(set_to_none=True)
        sum(weight * parts[name] for name, weight in WEIGHTS.items() if name in parts).backward()
        if processes > 1:
            _average_gradients(self.parameters, processes)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(settings.ema, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.sam.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        return {name: value.detach() for name, value in parts.items()}


class _Report:
    """Logs the mean of the losses and the time left, every 25 steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._restart()

    def _restart(self) -> None:
        self.sums, self.began, self.counted = {}, time.monotonic(), 0

    def add(self, step: int, parts: dict[str, torch.Tensor]) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += 1
        if step % 25 and step != self.steps:
            return
        rate = (time.monotonic() - self.began) / self.counted
        means = " ".join(f"{name} {v / self.counted:.4f}" for name, v in self.sums.items())
        left = rate * (self.steps - step) / 60
        log.info("step %d/%d %s %.2f s/step, %.0f min left", step, self.steps, means, rate, left)
        self._restart()

    def validation(self, step: int, figures: dict[str, float]) -> None:
        log.info("validation at step %d: %s", step, {k: round(v, 3) for k, v in figures.items()})
        self.began = time.monotonic()


def train_compact_sam(
    output: Path,
    settings: SamTraining,
    sizes: tuple[int, int] = (128, IMAGE_SIZE),
    stop_after: int | None = None,
    workers: int = 1,
    device: str = "cpu",
) -> Sam:
    """Trains from `settings.seed`, or goes on from `<output>.resume.pt`, and writes the checkpoint.

    The averaged weights are written to `output` in half precision; the state to resume from is
    removed then. `stop_after` ends the run after so many steps, as a kill would, without writing.
    `workers` processes make the scenes.

    Raises
    ------
    InputError
        `settings.initial` is missing or holds something else, or the state is of other settings.
    """
    rank, processes = 0, 1
    if distributed.is_initialized():
        rank, processes = distributed.get_rank(), distributed.get_world_size()
    first = rank == 0
    output = Path(output)
    resume = _state_of(output)
    run, report = _Run(settings, device), _Report(settings.steps)
    if resume.exists():
        run.resume(resume)
    samples = DataLoader(
        _Samples(settings, run.step, sizes, rank, processes),
        batch_size=settings.batch_size // processes,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread,
        prefetch_factor=8 if workers else None,
        pin_memory=run.kind == "cuda",
    )
    for batch in samples:
        parts = run.update(batch, processes)
        step, last = run.step, run.step == settings.steps
        if first:
            report.add(step, parts)
            if step % settings.validate_every == 0 or last:
                report.validation(
                    step, validate(run.average, settings.seed, settings.validation_scenes, sizes[1])
                )
            if step % settings.save_every == 0 or step == stop_after:
                run.save(resume)
        if step == stop_after:
            return run.average
    if first:
        calibrate(run.average, settings.seed, settings.calibration_scenes, sizes[1])
        with atomic_write(output) as path:
            save_compact_sam(run.average, path)
        resume.unlink(missing_ok=True)
    return run.average


def _process(rank: int, output: Path, settings: SamTraining, meeting: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=settings.processes
    )
    train_compact_sam(output, settings)
    distributed.destroy_process_group()


def pretrain(output: Path | str, settings: SamTraining, threads: int = 2) -> None:
    """`train_compact_sam` on a GPU, or on the CPU in `settings.processes` processes of one thread.

    Single threads that meet once a step lose less to other users of the machine than threads that
    meet in every operation. Beside a GPU all of the `threads` but one make scenes.
    """
    device = default_device()
    if device != "cpu":
        workers = max(1, threads - 1)
        train_compact_sam(Path(output), settings, workers=workers, device=device)
        return
    if settings.batch_size % settings.processes:
        raise InputError(
            f"pretraining.sam: batch_size {settings.batch_size} is not a multiple of processes "
            f"{settings.processes}; change one of them"
        )
    if _state_of(Path(output)).exists():
        _saved(_state_of(Path(output)), settings, device)  # a process could not tell the user
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(
            _process,
            (Path(output), settings, f"{folder}/meeting"),
            nprocs=settings.processes,
            start_method="fork",
        )
