"""Compare everything mode with Meta's `SamAutomaticMaskGenerator` on one model, slice and grid.

    python benchmarks/everything_mode.py [--quick] [--model vit_b] [--points-per-side 32 48]
        [--points N] [--size 320 320] [--survivors 0.3] [--device cpu] [--precision fp32]
        [--image FILE] [--memory]

The benchmark times the encoder, the mask decoder and the rest of a slice, and compares the masks.
On a GPU, both generators run once before they are timed, and the times are medians of three.
Official models get random weights: nothing is downloaded, and the time does not depend on them.

--survivors  share of the points with a mask whose predicted IoU passes the threshold
--points N   run N points of the grid, and scale the times of decoder and rest to the whole grid
--quick      64 points, and no encoder of an official model
--image      the middle slice of a volume instead of a generated scene
--memory     also measure the peak memory of each generator, in a new process with 64 points

Masks match at an IoU of 0.999 in fp32 and of 0.95 in other precisions. The last line is a JSON
object with the results for the first grid.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from compact_sam import best_iou  # noqa: E402

from umsam.data.intensity import normalise, to_rgb_uint8  # noqa: E402
from umsam.data.masks import SliceMasks  # noqa: E402
from umsam.data.volumes import read_array  # noqa: E402
from umsam.everything_mode.point_decoder import DecodedPoints  # noqa: E402
from umsam.everything_mode.volume_loop import GENERATORS, Generator  # noqa: E402
from umsam.jobs import keep_freed_memory  # noqa: E402
from umsam.models.matmul_precision import HALF, matmul_precision  # noqa: E402
from umsam.models.sam import load_sam  # noqa: E402
from umsam.planning.sam_variants import resolve_thresholds  # noqa: E402
from umsam.pretraining.procedural import random_scene  # noqa: E402


@dataclass
class Timing:
    """Seconds that one slice took, and its masks."""

    total: float
    encoder: float
    decoder: float
    masks: SliceMasks

    @property
    def rest(self) -> float:
        return self.total - self.encoder - self.decoder


class RandomEncoder(torch.nn.Module):
    """Returns a random embedding: a stand-in for the encoder if only the decoder is timed."""

    img_size = 1024

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 256, 64, 64, generator=generator).to(image.device)


def build_sam(name: str, device: str, quick: bool) -> Sam:
    """Load the compact model, or build an official one with random weights."""
    if name == "compact":
        return load_sam(name, ROOT / "resources/compact_sam.pt", device)
    torch.manual_seed(0)
    if quick:
        builders = sys.modules["segment_anything.build_sam"]
        builders.ImageEncoderViT = lambda **arguments: RandomEncoder()
    with torch.device(device):
        sam = sam_model_registry[name](checkpoint=None).eval().to(device)
    # Raise the IoUs: random weights predict about zero, where the generator applies no threshold.
    sam.mask_decoder.iou_prediction_head.layers[-1].bias.data += 1
    return sam


def time_method(
    owner: object, name: str, device: str, spent: dict[str, float], part: str
) -> Callable[[], None]:
    """Add the time of a method's calls to `spent[part]`; return a function that undoes this."""
    original = getattr(owner, name)

    def timed(*arguments, **named):
        start = now(device)
        result = original(*arguments, **named)
        spent[part] += now(device) - start
        return result

    setattr(owner, name, timed)
    return lambda: setattr(owner, name, original)


def now(device: str) -> float:
    """Return the time in seconds, after the GPU has finished."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def time_slice(generator: Generator, rgb: np.ndarray, device: str) -> Timing:
    """Segment a slice and time its parts."""
    spent = {"encoder": 0.0, "decoder": 0.0}
    undo = []
    if hasattr(generator, "decoder"):
        undo.append(time_method(generator, "encode", device, spent, "encoder"))
        undo.append(time_method(generator, "decode", device, spent, "decoder"))
        undo.append(time_method(generator.decoder, "compute_mask_logits", device, spent, "decoder"))
    else:
        undo.append(time_method(generator.sam.image_encoder, "forward", device, spent, "encoder"))
        undo.append(time_method(generator.sam.mask_decoder, "forward", device, spent, "decoder"))
    start = now(device)
    masks, _ = generator(rgb)
    total = now(device) - start
    for restore in undo:
        restore()
    return Timing(total, spent["encoder"], spent["decoder"], masks)


def use_points(generator: Generator, count: int | None) -> float:
    """Keep `count` evenly spaced points of the grid; return the factor of the reduction."""
    owner = generator if hasattr(generator, "grids") else generator.generator
    name = "grids" if hasattr(generator, "grids") else "point_grids"
    grid = getattr(owner, name)[0]
    if not count or count >= len(grid):
        return 1.0
    chosen = np.linspace(0, len(grid) - 1, count).round().astype(int)
    setattr(owner, name, [grid[chosen]])
    return len(grid) / count


def find_threshold(generator: Generator, rgb: np.ndarray, share: float) -> float:
    """Return the predicted IoU that the best mask of `share` of the points exceeds."""
    best: list[torch.Tensor] = []
    decode = generator.decode

    def record_ious(prompts: torch.Tensor) -> DecodedPoints:
        points = decode(prompts)
        best.append(points.predicted_iou.amax(dim=1))
        return points

    generator.decode = record_ious
    generator.settings = {**generator.settings, "pred_iou_thresh": 1e9}
    generator(rgb)
    return float(torch.cat(best).quantile(1 - share)) if share < 1 else 1e-9


def matched_share(masks: SliceMasks, reference: SliceMasks, at: float) -> float:
    """Return the share of the reference's masks that one of `masks` matches at an IoU of `at`."""
    if not len(reference):
        return 1.0
    return float((best_iou(masks.masks, reference.masks) >= at).mean())


def operations_per_point(sam: Sam, survivors: float) -> float:
    """Count the multiplications and additions of the products with pixels in `PointDecoder`."""
    transformer = sam.mask_decoder.transformer
    attention = transformer.final_attn_token_to_image
    pixels = np.prod(sam.prompt_encoder.image_embedding_size)
    tokens, heads = sam.mask_decoder.num_mask_tokens + 3, attention.num_heads
    rows = tokens * heads
    head = 2 * rows * (attention.internal_dim // heads) * pixels
    mix = 2 * rows**2 * pixels
    depth, total = transformer.depth, 0.0
    for i in range(depth + 1):  # the tokens' scores and values, the pixels' scores, the norm
        scores = head * (1 if i == 0 else 2) + mix * i
        total += scores + head + mix * i
        if i < depth:
            total += scores + head * (i + 1) + mix * (i + 1) * (i + 2) / 2
    upscaling = sam.mask_decoder.output_upscaling
    first, second = upscaling[0].out_channels, upscaling[3].out_channels
    masks = 2 * pixels * (rows * depth * 4 * first + 4 * first * 4 * second + 16 * second)
    return float(total + survivors * masks)


def measure_matrix_peak(device: str, precision: str) -> float:
    """Return the operations per second of a large matrix product."""
    n = 2048 if device == "cpu" else 8192
    kind = HALF.get(precision, torch.float32) if device == "cuda" else torch.float32
    a, b = (torch.randn(n, n, device=device).to(kind) for _ in range(2))
    best = 0.0
    with matmul_precision(precision, device):
        for _ in range(5):
            start = now(device)
            a @ b
            best = max(best, 2 * n**3 / (now(device) - start))
    return best


def choose_settings(
    sam: Sam, rgb: np.ndarray, m: int, arguments: argparse.Namespace
) -> tuple[dict[str, Any], float]:
    """Return the generators' settings, and the reduction of the grid by `--points`."""
    thresholds = ("pred_iou_thresh", "stability_score_thresh", "stability_score_offset")
    settings = {
        **resolve_thresholds({"model": arguments.model, **dict.fromkeys(thresholds)}),
        "points_per_side": m,
        "points_per_batch": None,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "min_mask_region_area": 0,
        "precision": arguments.precision,
    }
    probe = GENERATORS["fast"](sam, settings)
    scale = use_points(probe, arguments.points)
    if arguments.survivors is not None:
        settings["pred_iou_thresh"] = find_threshold(probe, rgb, arguments.survivors)
    if arguments.model != "compact":  # random masks have no stable edges
        settings["stability_score_thresh"] = 0.0
    return settings, scale


def compare(sam: Sam, rgb: np.ndarray, m: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Time both generators with a grid of m x m points, print a row and return it."""
    settings, scale = choose_settings(sam, rgb, m, arguments)
    results, memory = {}, {}
    gpu = arguments.device == "cuda"
    for name, repeats in (("reference", 3 if gpu else 1), ("fast", 3)):
        generator = GENERATORS[name](sam, settings)
        use_points(generator, arguments.points)
        if gpu:
            generator(rgb)
            torch.cuda.reset_peak_memory_stats()
        runs = [time_slice(generator, rgb, arguments.device) for _ in range(repeats)]
        results[name] = sorted(runs, key=lambda run: run.total)[repeats // 2]
        if gpu:
            memory[f"{name}_mb"] = torch.cuda.max_memory_allocated() / 2**20
    reference, fast = results["reference"], results["fast"]
    per_slice = {
        name: run.encoder + scale * (run.decoder + run.rest) for name, run in results.items()
    }
    points = m * m / scale
    share = arguments.survivors if arguments.survivors is not None else 0.25
    achieved = operations_per_point(sam, share) * points / fast.decoder
    at = 0.999 if arguments.precision == "fp32" else 0.95
    row = {
        "points_per_side": m,
        "encoder_s": fast.encoder,
        "decoder_s": fast.decoder * scale,
        "rest_s": fast.rest * scale,
        "reference_encoder_s": reference.encoder,
        "reference_s": per_slice["reference"],
        "fast_s": per_slice["fast"],
        "ratio_total": per_slice["reference"] / per_slice["fast"],
        "ratio_without_encoder": (reference.total - reference.encoder)
        / (fast.total - fast.encoder),
        "ratio_decoder": reference.decoder / fast.decoder,
        "ratio_postprocess": reference.rest / fast.rest,
        "matched": matched_share(fast.masks, reference.masks, at),
        "masks": len(reference.masks),
        "peak_fraction": achieved / measure_matrix_peak(arguments.device, arguments.precision),
    }
    if arguments.memory and not gpu:
        memory = {f"{name}_mb": peak_memory(name, rgb, settings, arguments) for name in GENERATORS}
    row |= memory
    print(
        f"{m:4d} {row['masks']:6d} {fast.encoder:9.3f} {row['reference_s']:12.3f} "
        f"{row['fast_s']:8.3f} {row['ratio_total']:8.1f} {row['ratio_without_encoder']:12.1f} "
        f"{row['ratio_decoder']:8.1f} {row['ratio_postprocess']:8.1f} {row['matched']:8.3f} "
        f"{row['peak_fraction']:8.2f}",
        flush=True,
    )
    if memory:
        print(f"     peak memory: {row['reference_mb']:.0f} MB, {row['fast_mb']:.0f} MB")
    return row


def peak_memory(name: str, rgb: np.ndarray, settings: dict, arguments: argparse.Namespace) -> float:
    """Return the peak resident memory, in MB, of a process that segments one slice."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_peak, name, rgb, settings, arguments).result()


def _measure_peak(
    name: str, rgb: np.ndarray, settings: dict, arguments: argparse.Namespace
) -> float:
    keep_freed_memory()
    generator = GENERATORS[name](build_sam(arguments.model, "cpu", arguments.quick), settings)
    use_points(generator, 64)
    generator(rgb)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def read_middle_slice(path: Path) -> np.ndarray:
    volume = normalise(read_array(path).astype(np.float32), 1, 99)
    return to_rgb_uint8(volume[len(volume) // 2])


def make_scene(size: list[int]) -> np.ndarray:
    rgb = to_rgb_uint8(random_scene(10_000_001).image)
    rows = np.linspace(0, rgb.shape[0] - 1, size[0]).round().astype(int)
    columns = np.linspace(0, rgb.shape[1] - 1, size[1]).round().astype(int)
    return np.ascontiguousarray(rgb[rows][:, columns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="vit_b", choices=["compact", "vit_b", "vit_l", "vit_h"])
    parser.add_argument("--points-per-side", type=int, nargs="+", default=[32, 48])
    parser.add_argument("--points", type=int, default=None)
    parser.add_argument("--size", type=int, nargs=2, default=[320, 320])
    parser.add_argument("--survivors", type=float, default=None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=["fp32", "tf32", "bf16", "fp16"],
        help="fast generator only",
    )
    parser.add_argument("--image", type=Path, default=None)
    parser.add_argument("--memory", action="store_true", help="Linux only")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.survivors is None and arguments.model != "compact":
        arguments.survivors = 0.3
    if arguments.quick:
        arguments.points = arguments.points or 64
    if arguments.device == "cpu":
        torch.set_num_threads(2)
        torch.set_flush_denormal(True)  # as in the pipeline; applies to both generators
        keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = False  # the reference computes its convolutions in float32
    sam = build_sam(arguments.model, arguments.device, arguments.quick)
    rgb = read_middle_slice(arguments.image) if arguments.image else make_scene(arguments.size)
    size = " x ".join(map(str, rgb.shape[:2]))
    print(f"{arguments.model}, {size}, {arguments.device}; ratios are reference / fast")
    print(
        "   m  masks encoder s  reference s   fast s    total no encoder"
        "  decoder     rest  matched  of peak"
    )
    rows = [compare(sam, rgb, m, arguments) for m in arguments.points_per_side]
    print(json.dumps({"benchmark": "everything_mode", "model": arguments.model, **rows[0]}))


if __name__ == "__main__":
    main()
