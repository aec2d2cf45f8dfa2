"""Quality of ROI features of the compact DINO and others: retrieval and clustering of tissues.

    python benchmarks/compact_dino.py [--quick] [--checkpoint FILE] [--sam FILE]

Two tests on generated images on which no model was trained:

- tissues: eight tissues in images of random contrast (umsam/pretraining/dino_criterion.py);
- phantoms: true masks of the target and of organs with a similar shape, from four sites, with
  K-means as in the pipeline. The table shows purity and recall of the cluster that holds most
  target ROIs.

Prints a table; the last line is a JSON object with ratios to the intensity features.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from umsam.data.intensity import normalise, to_rgb_uint8  # noqa: E402
from umsam.data.phantoms import FOLDS, generate_anatomy, generate_volume  # noqa: E402
from umsam.models.compact_dino import build_compact_dino  # noqa: E402
from umsam.models.compact_sam import build_compact_sam  # noqa: E402
from umsam.models.dino import Dino, feature_maps  # noqa: E402
from umsam.pretraining.dino_criterion import (  # noqa: E402
    TissueImage,
    tissue_images,
    tissue_scores,
)
from umsam.pseudo_labels.roi_features import mean_over_masks  # noqa: E402

INTENSITY = "mean and standard deviation of intensity"

Extractor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps an image [H, W] in [0, 1] and masks [R, H, W] to features [R, D]."""


def intensity_features(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of the grey values of each mask."""
    return np.array([(image[mask].mean(), image[mask].std()) for mask in masks])


def dino_extractor(checkpoint: Path | None) -> Extractor:
    """Mean of the compact DINO's feature map; random weights without a checkpoint."""
    torch.manual_seed(0)
    dino = Dino(build_compact_dino(checkpoint), 224)
    return lambda image, masks: mean_over_masks(feature_maps(dino, image[None], 1, "cpu")[0], masks)


def sam_extractor(checkpoint: Path | None) -> Extractor:
    """Mean of the compact SAM's embedding, for square images."""
    sam = build_compact_sam(checkpoint).eval()
    size = sam.image_encoder.img_size

    @torch.inference_mode()
    def extract(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(to_rgb_uint8(image)).permute(2, 0, 1)[None].float()
        pixels = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear")
        return mean_over_masks(sam.image_encoder(sam.preprocess(pixels))[0].numpy(), masks)

    return extract


def phantom_rois(kind: str, volumes: int) -> list[TissueImage]:
    """Slices with the true masks of organs that pass the shape priors; tissue 1 is the target."""
    slices = []
    for number in range(volumes):
        site, seed = 1 + number % 4, 9000 + number
        volume = normalise(generate_volume(kind, seed, site)[0])
        rng = np.random.default_rng([0 if kind == "brain" else 1, seed])
        anatomy = generate_anatomy(rng, kind)
        target, *others = anatomy.masks
        distractors = [
            mask
            for mask, organ in zip(others, anatomy.organs[1:], strict=True)
            if organ.tissue is not FOLDS  # the shape priors reject the elongated organ
        ]
        for z, image in enumerate(volume):
            masks = [mask[z] for mask in (target, *distractors)]
            visible = np.array([mask.mean() > 0.01 for mask in masks])
            if visible.any():
                tissue = np.array([1] + [0] * len(distractors))[visible]
                slices.append(TissueImage(image, np.stack(masks)[visible], tissue))
    return slices


def target_scores(features: np.ndarray, target: np.ndarray, k: int) -> tuple[float, float]:
    """Purity and recall of the cluster that holds most target ROIs; `target` [N] is 1 or 0."""
    cluster = KMeans(k, n_init=10, random_state=0).fit_predict(features)
    best = np.bincount(cluster[target == 1]).argmax()
    hits = target[cluster == best].sum()
    return hits / (cluster == best).sum(), hits / target.sum()


def all_features(extract: Extractor, images: list[TissueImage]) -> np.ndarray:
    """Features of the ROIs of all images; those of intensity are scaled to unit variance."""
    rows = np.concatenate([extract(item.image, item.masks) for item in images])
    return (rows - rows.mean(0)) / rows.std(0) if extract is intensity_features else rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="use fewer images")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "resources/compact_dino.pt")
    parser.add_argument("--sam", type=Path, default=ROOT / "resources/compact_sam.pt")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as in the pipeline

    tissues = tissue_images(30 if options.quick else 100, seed=7)
    phantoms = {
        kind: phantom_rois(kind, 4 if options.quick else 12) for kind in ("brain", "prostate")
    }
    extractors = {
        INTENSITY: intensity_features,
        "compact DINO, untrained": dino_extractor(None),
        "compact DINO": dino_extractor(options.checkpoint),
    }
    if options.sam.is_file():
        extractors["embedding of the compact SAM"] = sam_extractor(options.sam)

    columns = ["features", "retrieval", "purity, K = 8"]
    columns += ["brain, K = 8", "brain, K = 4", "prostate, K = 8", "prostate, K = 4", "s per slice"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    scores = {}
    for name, extract in extractors.items():
        start = time.perf_counter()
        row = tissue_scores(all_features(extract, tissues), tissues)
        seconds = (time.perf_counter() - start) / len(tissues)
        cells = [f"{row['retrieval']:.2f}", f"{row['purity']:.2f}"]
        for kind, images in phantoms.items():
            features = all_features(extract, images)
            target = np.concatenate([item.tissue for item in images])
            for k in (8, 4):
                purity, recall = target_scores(features, target, k)
                row[f"{kind}_purity_{k}"] = float(purity)
                cells.append(f"{purity:.2f} / {recall:.2f}")
        scores[name] = row
        print(f"| {name} | {' | '.join(cells)} | {seconds:.2f} |", flush=True)

    base, ours = scores[INTENSITY], scores["compact DINO"]
    ratios = {f"ratio_{key}": round(ours[key] / base[key], 3) for key in base}
    print(json.dumps({"benchmark": "compact_dino", **ratios}))


if __name__ == "__main__":
    main()
