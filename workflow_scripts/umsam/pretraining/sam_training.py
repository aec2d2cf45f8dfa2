"""Trains the compact SAM on procedural scenes, as SAM was trained, but short enough for a CPU.

Per image one encoding serves several prompts (points in objects, boxes, points on nothing). A point
lies in a chain of nested objects; the three outputs are matched with the chain so that each is
trained, and the IoU head regresses the true IoU of each output, which is 0 on nothing. Besides, an
auxiliary head turns dozens of anchor points an image into masks straight from the up-scaled
embedding: it costs less than one prompt of the decoder and teaches the encoder what belongs
together before the decoder knows what a prompt is.
"""

import itertools
import logging
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, Sam
from segment_anything.modeling.transformer import Attention
from torch import distributed, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from umsam.errors import InputError
from umsam.files import whole
from umsam.pretraining.procedural import random_scene
from umsam.pseudo_labels.compact_sam import (
    CHANNELS,
    IMAGE_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
    build_compact_sam,
    save_compact_sam,
)

log = logging.getLogger(__name__)

CHAIN = 3
"""A point has at most this many nested targets: as many as the decoder has outputs."""


@dataclass(frozen=True)
class SamTraining:
    """Everything that decides the result; resuming needs the same values."""

    steps: int = 2180
    batch_size: int = 8
    points: int = 4
    boxes: int = 1
    nothings: int = 1
    """Points that lie in no object; their true IoU is 0."""
    anchors: int = 20
    """On small images; fewer on large ones, as their masks cost more."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 150
    decay_share: float = 0.33
    """Share of the steps, at the end, over which the learning rate falls to 2 %."""
    small_share: float = 0.665
    """Share of the steps, at the beginning, on images of 128 x 128."""
    anchor_share: float = 0.3
    """Share of the steps, at the beginning, that train on anchors alone, without the decoder."""
    ema: float = 0.998
    seed: int = 0
    validate_every: int = 200
    save_every: int = 100
    validation_scenes: int = 48
    processes: int = 2
    """Each takes its share of a batch on one core; gradients are averaged. Divides `batch_size`."""
    bfloat16: bool = True


# ---------------------------------------------------------------------------------------- samples


def _chain(labels: np.ndarray, parent: np.ndarray, y: int, x: int) -> list[int]:
    """Indices of the nested objects at a pixel, innermost first, padded with -1 to CHAIN."""
    index, chain = int(labels[y, x]), []
    while index >= 0 and len(chain) < CHAIN:
        chain.append(index)
        index = int(parent[index])
    return chain + [-1] * (CHAIN - len(chain))


def make_sample(
    seed: tuple[int, ...], size: int, points: int, boxes: int, nothings: int, anchors: int
) -> dict[str, torch.Tensor]:
    """One scene with its prompts.

    Returns image [size, size] float32 in [0, 1]; targets [K, size / 2, size / 2] uint8, quarters of
    a pixel covered; coords [P, 2, 2] (x, y) and labels [P, 2] of the prompt tokens in
    segment_anything's code (1 point, -1 none, 2 and 3 box corners); chain [P, CHAIN] and
    anchor_chain [A, CHAIN] target indices, -1 for none; wanted [P] the object a prompt was drawn
    for; anchor [A, 2] (x, y). Coordinates are pixels, as a user of segment_anything would give.
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(int(rng.integers(2**62)), size)
    image, masks = scene.image, scene.masks
    if rng.random() < 0.2:  # what Sam.preprocess makes of an image that is not square
        length = int(size * rng.uniform(0.6, 0.97))
        cut = (
            (slice(length, None), slice(None))
            if rng.random() < 0.5
            else (slice(None), slice(length, None))
        )
        image, masks = image.copy(), masks.copy()
        image[cut] = PIXEL_MEAN / 255
        masks[(slice(None), *cut)] = False
    visible = np.flatnonzero(masks.sum((1, 2)) >= 24)
    labels = np.full((size, size), -1, np.int16)
    for index in visible:
        labels[masks[index]] = index

    def inside(index: int) -> tuple[int, int]:
        flat = np.flatnonzero(masks[index])
        return divmod(int(flat[rng.integers(len(flat))]), size)

    nowhere = np.flatnonzero(labels < 0)
    coords, tokens, chains, wanted = [], [], [], []
    for kind in ["point"] * points + ["box"] * boxes + ["nothing"] * nothings:
        if kind == "nothing" and len(nowhere):
            y, x = divmod(int(nowhere[rng.integers(len(nowhere))]), size)
            coords.append([[x, y], [0, 0]])
            tokens.append([1, -1])
            chains.append([-1] * CHAIN)
            wanted.append(-1)
            continue
        if not len(visible):
            coords.append([[size / 2, size / 2], [0, 0]])
            tokens.append([1, -1])
            chains.append([-1] * CHAIN)
            wanted.append(-1)
            continue
        index = int(rng.choice(visible))
        wanted.append(index)
        if kind == "box":
            ys, xs = np.nonzero(masks[index].any(1))[0], np.nonzero(masks[index].any(0))[0]
            height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
            jitter = rng.normal(0, 0.05, 4) * [width, height, width, height]
            coords.append(
                [
                    [xs[0] + jitter[0], ys[0] + jitter[1]],
                    [xs[-1] + 1 + jitter[2], ys[-1] + 1 + jitter[3]],
                ]
            )
            tokens.append([2, 3])
            chains.append([index] + [-1] * (CHAIN - 1))
        else:
            y, x = inside(index)
            coords.append([[x, y], [0, 0]])
            tokens.append([1, -1])
            chains.append(_chain(labels, scene.parent, y, x))
    anchor, anchor_chain = [], []
    for _ in range(anchors):
        y, x = inside(int(rng.choice(visible))) if len(visible) else (0, 0)
        anchor.append([x, y])
        anchor_chain.append(_chain(labels, scene.parent, y, x))
    quarters = masks.reshape(len(masks), size // 2, 2, size // 2, 2).sum((2, 4), dtype=np.uint8)
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "targets": torch.from_numpy(quarters),
        "coords": torch.tensor(coords, dtype=torch.float32).reshape(-1, 2, 2),
        "labels": torch.tensor(tokens, dtype=torch.long).reshape(-1, 2),
        "chain": torch.tensor(chains, dtype=torch.long).reshape(-1, CHAIN),
        "wanted": torch.tensor(wanted, dtype=torch.long),
        "anchor": torch.tensor(anchor, dtype=torch.float32).reshape(-1, 2),
        "anchor_chain": torch.tensor(anchor_chain, dtype=torch.long).reshape(-1, CHAIN),
    }


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stacks samples of one size; targets are padded with empty masks to the largest number."""
    batch = {key: torch.stack([s[key] for s in samples]) for key in samples[0] if key != "targets"}
    most = max(len(s["targets"]) for s in samples)
    batch["targets"] = torch.stack(
        [F.pad(s["targets"], (0, 0, 0, 0, 0, most - len(s["targets"]))) for s in samples]
    )
    return batch


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


# ----------------------------------------------------------------------------------------- model


class AnchorMasks(nn.Module):
    """Masks of anchor points from the embedding alone: [B, A, 3, 4h, 4w] logits and their vectors.

    A small network turns the features and the position of the anchor into three vectors that are
    multiplied with the up-scaled embedding, plus a term that falls with the distance to the anchor.
    It shares the decoder's up-scaling and is thrown away after training.
    """

    def __init__(self):
        super().__init__()
        self.width = CHANNELS // 8
        self.network = nn.Sequential(
            nn.Linear(2 * CHANNELS + self.width, 256),
            nn.ReLU(),
            nn.Linear(256, 3 * (self.width + 2)),
        )
        nn.init.normal_(self.network[-1].weight, std=0.02)

    def forward(self, embedding, upscaled, position, anchor):
        """position [B, A, 256]: by the prompt encoder; anchor [B, A, 2] in [0, 1] (x, y)."""
        grid = (anchor * 2 - 1)[:, :, None]
        here = F.grid_sample(embedding.float(), grid, align_corners=False)[..., 0].transpose(1, 2)
        fine = F.grid_sample(upscaled.float(), grid, align_corners=False)[..., 0].transpose(1, 2)
        out = self.network(torch.cat([here, position, fine], -1)).float()
        b, a, _ = out.shape
        h, w = upscaled.shape[-2:]
        out = out.view(b, a, 3, self.width + 2)
        vector = fine[:, :, None] + out[..., : self.width]
        logits = (vector.reshape(b, a * 3, -1) @ upscaled.float().flatten(2)).view(b, a, 3, h, w)
        ys = (torch.arange(h) + 0.5) / h
        xs = (torch.arange(w) + 0.5) / w
        dy = (ys[None, None] - anchor[..., 1:]).square()[..., :, None]
        dx = (xs[None, None] - anchor[..., :1]).square()[..., None, :]
        reach = 40 * F.softplus(out[..., -2])
        logits = logits - reach[..., None, None] * (dy + dx)[:, :, None] + out[..., -1, None, None]
        return logits, vector


def encode(sam: Sam, image: torch.Tensor) -> torch.Tensor:
    """image [B, S, S] in [0, 1] to the embedding [B, 256, S / 8, S / 8]."""
    x = ((image * 255 - PIXEL_MEAN) / PIXEL_STD)[:, None].expand(-1, 3, -1, -1)
    return sam.image_encoder(x.contiguous(memory_format=torch.channels_last))


def positions(sam: Sam, coords: torch.Tensor, size: int) -> torch.Tensor:
    """The prompt encoder's encoding of pixel coordinates [..., 2] (x, y), in full precision."""
    with torch.autocast(coords.device.type, enabled=False):
        flat = (coords + 0.5).reshape(1, -1, 2)
        encoded = sam.prompt_encoder.pe_layer.forward_with_coords(flat, (size, size))
    return encoded.reshape(*coords.shape[:-1], -1)


def _repeat(x: torch.Tensor, times: int) -> torch.Tensor:
    """`repeat_interleave` along the first axis, whose gradient is a plain sum."""
    return x[:, None].expand(-1, times, *x.shape[1:]).flatten(0, 1) if times > 1 else x


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[n, tokens, channels] to [n, heads, tokens, channels / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(block: Attention, q, k, v) -> torch.Tensor:
    """segment_anything's attention for inputs that are projected already."""
    q, k, v = (_heads(x, block.num_heads) for x in (q, k, v))
    weight = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
    return block.out_proj((weight.to(v.dtype) @ v).transpose(1, 2).flatten(2))


def _upscale(decoder: MaskDecoder, x: torch.Tensor) -> torch.Tensor:
    """The decoder's transposed convolutions as products: [n, pixels, C] to [n, pixels, 16, C / 8].

    Their kernel equals their stride, so each pixel becomes 4 and then 16 without neighbours; the
    layer norm between them then runs over the last axis.
    """
    first, norm, _, second, _ = decoder.output_upscaling
    x = x @ first.weight.permute(0, 2, 3, 1).flatten(1) + first.bias.repeat(4)
    x = x.unflatten(-1, (4, -1))
    x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = x @ second.weight.permute(0, 2, 3, 1).flatten(1) + second.bias.repeat(4)
    return F.gelu(x.unflatten(-1, (4, -1)).flatten(2, 3))


def _unfold(x: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """[n, m, h * w, 16] as `_upscale` orders it to images [n, m, 4h, 4w]."""
    x = x.reshape(*x.shape[:2], h, w, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
    return x.reshape(*x.shape[:2], 4 * h, 4 * w)


def decode(sam: Sam, embedding, coords, labels, size: int) -> tuple[torch.Tensor, ...]:
    """segment_anything's decoder for P prompts on each of B images.

    coords [B, P, 2, 2] and labels [B, P, 2] as in `make_sample`. Gives logits [B * P, 4, 4h, 4w],
    predicted IoU [B * P, 4] (output 0 is the single-mask output), and the vectors [B * P, 4, 32]
    that the masks are products with. The same function of the same weights as
    `MaskDecoder.predict_masks`, arranged for training: what does not depend on the prompt is
    computed once an image, and no array is larger than it has to be.
    """
    prompt, decoder = sam.prompt_encoder, sam.mask_decoder
    transformer = decoder.transformer
    b, p = labels.shape[:2]
    h, w = embedding.shape[-2:]
    learned = (prompt.not_a_point_embed, *prompt.point_embeddings)
    table = torch.cat([embedding.weight for embedding in learned])
    sparse = positions(sam, coords, size) * (labels >= 0)[..., None] + table[labels + 1]
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(b * p, -1, -1), sparse.view(b * p, 2, CHANNELS)], 1)
    with torch.autocast(embedding.device.type, enabled=False):
        place = prompt.pe_layer((h, w)).flatten(1).T[None]
    image = (embedding + prompt.no_mask_embed.weight.view(1, -1, 1, 1)).flatten(2).transpose(1, 2)

    queries, keys, each = tokens, image, p  # `each`: how many prompts share a row of keys
    for layer in transformer.layers:
        read, write = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        at = queries if layer.skip_first_layer_pe else queries + tokens
        attended = layer.self_attn(q=at, k=at, v=queries)
        queries = layer.norm1(attended if layer.skip_first_layer_pe else queries + attended)
        k = read.k_proj(keys) + F.linear(place, read.k_proj.weight)
        v = read.v_proj(keys)
        q = write.q_proj(keys) + F.linear(place, write.q_proj.weight)
        k, v, q = (_repeat(x, each) for x in (k, v, q))
        queries = layer.norm2(queries + _attend(read, read.q_proj(queries + tokens), k, v))
        queries = layer.norm3(queries + layer.mlp(queries))
        update = _attend(write, q, write.k_proj(queries + tokens), write.v_proj(queries))
        keys = layer.norm4(_repeat(keys.to(update.dtype), each) + update)
        each = 1
    last = transformer.final_attn_token_to_image
    k = last.k_proj(keys) + F.linear(place, last.k_proj.weight)
    queries = queries + _attend(last, last.q_proj(queries + tokens), k, last.v_proj(keys))
    queries = transformer.norm_final_attn(queries)
    vectors = torch.stack(
        [mlp(queries[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    fine = _upscale(decoder, keys)
    masks = (fine.flatten(1, 2) @ vectors.transpose(1, 2)).transpose(1, 2)
    score = decoder.iou_prediction_head(queries[:, 0])
    return _unfold(masks.unflatten(-1, (h * w, 16)), h, w), score, vectors


# ----------------------------------------------------------------------------------------- losses


def mask_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus Dice of each mask: logits and target [..., M] to [...].

    The cross-entropy is divided by the geometric mean of image and object, so small objects count;
    pixels the edge runs through (targets are area-pooled) weigh up to three times.
    """
    weight = 1 + 8 * target * (1 - target)
    entropy = ((F.softplus(logits) - logits * target) * weight).mean(-1)
    entropy = entropy / (0.5 * target.mean(-1).clamp_min(1e-3).sqrt())
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum(-1) + 1) / (p.sum(-1) + target.sum(-1) + 1)
    return entropy + dice


_PERMUTATIONS = torch.tensor(list(itertools.permutations(range(CHAIN))))


def match(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor):
    """Which target each of three outputs is trained on: logits, targets [N, 3, M], valid [N, 3].

    The valid targets go to different outputs, by the best sum of soft Dice over the six ways; an
    output left over takes the target it is nearest to, with a small weight, so that none dies.
    Gives the target's index [N, 3] and the weight [N, 3].
    """
    with torch.no_grad():
        p = logits.sigmoid()
        overlap = p @ targets.transpose(1, 2)
        dice = (
            2 * overlap / (p.sum(-1)[:, :, None] + targets.sum(-1)[:, None] + 1)
        )  # [N, out, target]
        dice = dice.masked_fill(~valid[:, None], 0)
        order = _PERMUTATIONS.to(logits.device)  # order[i, t]: the output target t goes to
        total = dice[:, order, torch.arange(CHAIN)].sum(-1)
        best = order[total.argmax(1)]
        nearest = dice.masked_fill(~valid[:, None], -1).argmax(-1)
        index, weight = nearest.clone(), torch.full(valid.shape, 0.1, device=logits.device)
        for t in range(CHAIN):
            row = torch.nonzero(valid[:, t])[:, 0]
            index[row, best[row, t]] = t
            weight[row, best[row, t]] = 1.0
    return index, weight


def nested_loss(logits, targets, valid) -> torch.Tensor:
    """Mean mask loss of three outputs [N, 3, M] against up to three nested targets [N, 3, M]."""
    keep = valid.any(1)
    if not keep.any():
        return logits.sum() * 0
    logits, targets, valid = logits[keep], targets[keep], valid[keep]
    index, weight = match(logits, targets, valid)
    chosen = targets.gather(1, index[..., None].expand_as(targets))
    return (mask_loss(logits, chosen) * weight).sum() / weight.sum()


def true_iou(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """IoU [N, O] of each output with the best of its valid targets; 0 where there are none."""
    with torch.no_grad():
        mask, truth = (logits > 0).float(), (targets > 0.5).float()
        overlap = mask @ truth.transpose(1, 2)
        union = mask.sum(-1)[:, :, None] + truth.sum(-1)[:, None] - overlap
        iou = (overlap / union.clamp_min(1)).masked_fill(~valid[:, None], 0)
        return iou.amax(-1)


def _gather(targets: torch.Tensor, chain: torch.Tensor) -> torch.Tensor:
    """targets [B, K, h, w] in quarters, chain [B, P, CHAIN] to [B * P, CHAIN, h * w] in [0, 1]."""
    b = targets.shape[0]
    picked = targets[torch.arange(b, device=targets.device)[:, None, None], chain.clamp_min(0)]
    return picked.flatten(0, 1).flatten(2).float() / 4


def losses(
    sam: Sam, aux: AnchorMasks, batch: dict[str, torch.Tensor], decoder: bool = True
) -> dict[str, torch.Tensor]:
    """The parts of the loss on one batch, and `iou`: the mean best-of-three IoU over prompts.

    Without `decoder` only the loss of the anchors.
    """
    size = batch["image"].shape[-1]
    embedding = encode(sam, batch["image"])
    fine = _upscale(sam.mask_decoder, embedding.flatten(2).transpose(1, 2)).permute(0, 3, 1, 2)
    upscaled = _unfold(fine, *embedding.shape[-2:])
    # the prompts' first points are anchors too: what they give is a hint for the decoder
    anchor = torch.cat([batch["anchor"], batch["coords"][:, :, 0]], 1)
    anchors = batch["anchor"].shape[1]
    anchor_logits, vectors = aux(
        embedding, upscaled, positions(sam, anchor, size), (anchor + 0.5) / size
    )
    anchor_logits, hint = anchor_logits[:, :anchors], vectors[:, anchors:].detach().flatten(0, 1)
    anchor_valid = (batch["anchor_chain"] >= 0).flatten(0, 1)
    anchor_targets = _gather(batch["targets"], batch["anchor_chain"])
    anchor_loss = nested_loss(anchor_logits.flatten(0, 1).flatten(2), anchor_targets, anchor_valid)
    if not decoder:
        return {"anchor": anchor_loss}
    logits, predicted, vectors = decode(sam, embedding, batch["coords"], batch["labels"], size)
    point = (batch["labels"][:, :, 0] == 1).flatten()
    hint_loss = F.mse_loss(vectors[point, 1:].float(), hint[point]) / hint[point].var()
    logits, predicted = logits.float().flatten(2), predicted.float()
    valid = (batch["chain"] >= 0).flatten(0, 1)
    targets = _gather(batch["targets"], batch["chain"])
    wanted = _gather(batch["targets"], batch["wanted"][..., None])
    known = (batch["wanted"] >= 0).flatten()
    iou = true_iou(logits, targets, valid)
    return {
        "anchor": anchor_loss,
        "hint": hint_loss,
        "mask": nested_loss(logits[:, 1:], targets, valid),
        "single": mask_loss(logits[known, 0], wanted[known, 0]).mean()
        if known.any()
        else 0 * logits.sum(),
        "score": F.mse_loss(predicted, iou),
        "iou": iou[known, 1:].amax(1).mean() if known.any() else iou.sum(),
    }


WEIGHTS = {"anchor": 0.7, "hint": 0.5, "mask": 1.0, "single": 0.3, "score": 2.0}


# ---------------------------------------------------------------------------------------- training


def validate(sam: Sam, settings: SamTraining, size: int = IMAGE_SIZE) -> dict[str, float]:
    """Six points in objects and four uniform ones on each of a fixed set of scenes."""
    best, chosen, predicted, true = [], [], [], []
    sam.eval()
    with torch.inference_mode():
        for number in range(settings.validation_scenes):
            batch = collate([make_sample((settings.seed, 2, number), size, 6, 0, 3, 1)])
            embedding = encode(sam, batch["image"])
            logits, score, _ = decode(sam, embedding, batch["coords"], batch["labels"], size)
            valid = (batch["chain"] >= 0).flatten(0, 1)
            iou = true_iou(logits.flatten(2), _gather(batch["targets"], batch["chain"]), valid)[
                :, 1:
            ]
            score = score[:, 1:]
            known = valid.any(1)
            best += iou[known].amax(1).tolist()
            chosen += iou[known].gather(1, score[known].argmax(1, keepdim=True))[:, 0].tolist()
            predicted += score.flatten().tolist()
            true += iou.flatten().tolist()
    best = np.array(best)
    return {
        "best": float(best.mean()),
        "best>0.5": float((best > 0.5).mean()),
        "best>0.7": float((best > 0.7).mean()),
        "chosen": float(np.mean(chosen)),
        "correlation": float(np.corrcoef(predicted, true)[0, 1]),
    }


def learning_rate(step: int, settings: SamTraining) -> float:
    """Linear warm-up, flat, cosine down to 2 % over the last `decay_share` of the steps."""
    start = (1 - settings.decay_share) * settings.steps
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    if step < start:
        return settings.learning_rate
    along = (step - start) / max(1.0, settings.steps - start)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along)))


def _average_gradients(parameters: list[nn.Parameter], processes: int) -> None:
    """The mean gradient over the processes, in one message."""
    used = [p for p in parameters if p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in used])
    distributed.all_reduce(flat)
    flat /= processes
    for p, part in zip(used, flat.split([p.numel() for p in used]), strict=True):
        p.grad.copy_(part.view_as(p))


def train_compact_sam(
    output: Path,
    settings: SamTraining,
    sizes: tuple[int, int] = (128, IMAGE_SIZE),
    stop_after: int | None = None,
    workers: int = 1,
) -> Sam:
    """Trains from `settings.seed`, or goes on from `<output>.resume.pt`, and writes the checkpoint.

    The averaged weights are written to `output` in half precision; the state to resume from is
    removed then. `stop_after` ends the run after so many steps, as a kill would, without writing.
    """
    rank, processes = 0, 1
    if distributed.is_initialized():
        rank, processes = distributed.get_rank(), distributed.get_world_size()
    output = Path(output)
    resume = output.with_name(output.name + ".resume.pt")
    torch.manual_seed(settings.seed)
    sam, average, aux = build_compact_sam(), build_compact_sam(), AnchorMasks()
    average.load_state_dict(sam.state_dict())
    sam.image_encoder.to(memory_format=torch.channels_last)
    parameters = [*sam.parameters(), *aux.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    step = 0
    if resume.exists():
        state = torch.load(resume, weights_only=True)
        sam.load_state_dict(state["sam"])
        average.load_state_dict(state["average"])
        aux.load_state_dict(state["aux"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
        log.info("going on at step %d from %s", step, resume)
    loader = iter(
        DataLoader(
            _Samples(settings, step, sizes, rank, processes),
            batch_size=settings.batch_size // processes,
            num_workers=workers,
            collate_fn=collate,
            prefetch_factor=8 if workers else None,
        )
    )
    sums, began, counted = {}, time.monotonic(), 0
    while step < settings.steps:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        sam.train()
        batch = next(loader)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            parts = losses(sam, aux, batch, step >= settings.anchor_share * settings.steps)
        if step >= settings.small_share * settings.steps:
            parts.pop("hint", None)  # the decoder has outgrown it
        total = sum(weight * parts[name] for name, weight in WEIGHTS.items() if name in parts)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        if processes > 1:
            _average_gradients(parameters, processes)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        decay = min(settings.ema, step / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), sam.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        counted += 1
        if rank == 0 and (step % 25 == 0 or step == settings.steps):
            rate = (time.monotonic() - began) / counted
            log.info(
                "step %d/%d %s %.2f s/step, %.0f min left",
                step,
                settings.steps,
                " ".join(f"{name} {value / counted:.4f}" for name, value in sums.items()),
                rate,
                rate * (settings.steps - step) / 60,
            )
            sums, began, counted = {}, time.monotonic(), 0
        if rank == 0 and (step % settings.validate_every == 0 or step == settings.steps):
            figures = validate(average, settings, sizes[1])
            log.info(
                "validation at step %d: %s", step, {k: round(v, 3) for k, v in figures.items()}
            )
            began = time.monotonic()
        if rank == 0 and (step % settings.save_every == 0 or step == stop_after):
            with whole(resume) as path:
                torch.save(
                    {
                        "step": step,
                        "sam": sam.state_dict(),
                        "average": average.state_dict(),
                        "aux": aux.state_dict(),
                        "optimiser": optimiser.state_dict(),
                    },
                    path,
                )
        if step == stop_after:
            return average
    if rank == 0:
        with whole(output) as path:
            save_compact_sam(average, path)
        resume.unlink(missing_ok=True)
    return average


def _process(rank: int, output: Path, settings: SamTraining, meeting: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=settings.processes
    )
    train_compact_sam(output, settings)
    distributed.destroy_process_group()


def pretrain(output: Path | str, settings: SamTraining) -> None:
    """`train_compact_sam` in `settings.processes` processes of one thread each.

    Single threads that meet once a step lose less to other users of the machine than threads that
    meet in every operation.
    """
    if settings.batch_size % settings.processes:
        raise InputError(
            f"pretraining.sam: batch_size {settings.batch_size} is not a multiple of processes "
            f"{settings.processes}; change one of them"
        )
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(
            _process,
            (Path(output), settings, f"{folder}/meeting"),
            nprocs=settings.processes,
            start_method="fork",
        )
