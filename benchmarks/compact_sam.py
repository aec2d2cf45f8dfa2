"""Recall of everything mode with the compact SAM, on held-out procedural scenes and your volumes.

    python benchmarks/compact_sam.py [--quick] [--checkpoint FILE] [--points-per-side M] [SHEET ...]

Uses segment_anything's own generator. Targets are the objects of procedural scenes, and the labels
of the positive slices of the sample sheets (every second one with --quick). For each set, the table
shows the recall at an IoU of 0.5 and 0.7 of the raw outputs (three masks at each grid point) and of
the returned masks (after thresholds and non-maximum suppression), the number of returned masks,
and the seconds per slice. The last line is a JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from umsam.data.intensity import normalise, to_rgb_uint8  # noqa: E402
from umsam.data.volumes import read_array  # noqa: E402
from umsam.models.compact_sam import build_compact_sam  # noqa: E402
from umsam.planning.sam_variants import SAM_VARIANTS  # noqa: E402
from umsam.planning.sample_sheet import read_sample_sheet  # noqa: E402
from umsam.pretraining.procedural import random_scene  # noqa: E402
from umsam.pseudo_labels.pseudo_labels import pairwise_iou  # noqa: E402

Slices = Iterable[tuple[np.ndarray, np.ndarray]]
"""Pairs of a slice, RGB uint8 [H, W, 3], and its target masks, bool [K, H, W]."""


def procedural_slices(
    count: int, first: int = 10_000_000
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scenes with seeds that training does not use."""
    for number in range(count):
        scene = random_scene(first + number)
        yield to_rgb_uint8(scene.image), scene.masks


def positive_slices(sheet: Path, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every `step`-th slice with a target of the labelled volumes of a sample sheet."""
    for sample in read_sample_sheet(sheet):
        if sample.label is None:
            continue
        volume = normalise(read_array(sample.image).astype(np.float32), 1, 99)
        label = read_array(sample.label) > 0
        for z in np.flatnonzero(label.any((1, 2)))[::step]:
            yield to_rgb_uint8(volume[z]), label[z : z + 1]


def best_iou(masks: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The largest IoU [K] of each target [K, H, W] with the masks [N, H, W]; 0 without masks."""
    if not len(masks):
        return np.zeros(len(targets))
    return pairwise_iou(masks, targets).max(axis=0)


def measure(sam: Sam, slices: Slices, points_per_side: int) -> dict[str, float]:
    """Recall of the raw and the returned masks, number of masks, and time per slice."""
    grid = {"points_per_side": points_per_side, "points_per_batch": 64}
    variant = SAM_VARIANTS["compact"]
    default = SamAutomaticMaskGenerator(
        sam,
        **grid,
        pred_iou_thresh=variant.pred_iou_thresh,
        stability_score_thresh=variant.stability_score_thresh,
        stability_score_offset=variant.stability_score_offset,
    )
    raw = SamAutomaticMaskGenerator(
        sam, **grid, pred_iou_thresh=-1e9, stability_score_thresh=-1.0, box_nms_thresh=1.0
    )
    returned_iou, raw_iou, numbers, seconds = [], [], [], 0.0
    for rgb, targets in slices:
        start = time.perf_counter()
        masks = default.generate(rgb)
        seconds += time.perf_counter() - start
        numbers.append(len(masks))
        returned_iou.extend(best_iou(np.array([m["segmentation"] for m in masks]), targets))
        raw_masks = np.array([m["segmentation"] for m in raw.generate(rgb)])
        raw_iou.extend(best_iou(raw_masks, targets))
    returned, possible = np.array(returned_iou), np.array(raw_iou)
    return {
        "slices": len(numbers),
        "targets": len(returned),
        "raw_recall_0.5": float((possible >= 0.5).mean()),
        "raw_recall_0.7": float((possible >= 0.7).mean()),
        "recall_0.5": float((returned >= 0.5).mean()),
        "recall_0.7": float((returned >= 0.7).mean()),
        "masks_per_slice": float(np.mean(numbers)),
        "seconds_per_slice": seconds / len(numbers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sheets", nargs="*", type=Path, metavar="SHEET")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "resources/compact_sam.pt")
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="16 scenes and every second slice")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)  # as in the pipeline
    sam = build_compact_sam(arguments.checkpoint)
    sets: dict[str, Slices] = {
        "procedural": procedural_slices(16 if arguments.quick else arguments.scenes)
    }
    for sheet in arguments.sheets:
        sets[sheet.parent.name] = positive_slices(sheet, 2 if arguments.quick else 1)
    results = {}
    print("set           slices targets  raw 0.5  raw 0.7  ret. 0.5 ret. 0.7  masks   s/slice")
    for name, slices in sets.items():
        r = results[name] = measure(sam, slices, arguments.points_per_side)
        print(
            f"{name:13s} {r['slices']:6d} {r['targets']:7d} {r['raw_recall_0.5']:8.2f} "
            f"{r['raw_recall_0.7']:8.2f} {r['recall_0.5']:9.2f} {r['recall_0.7']:8.2f} "
            f"{r['masks_per_slice']:6.1f} {r['seconds_per_slice']:9.2f}",
            flush=True,
        )
    ratios = {
        name: r["recall_0.5"] / r["raw_recall_0.5"]
        for name, r in results.items()
        if r["raw_recall_0.5"]
    }
    print(
        json.dumps({"benchmark": "compact_sam", "ratio_returned_of_raw": ratios, "sets": results})
    )


if __name__ == "__main__":
    main()
