"""Time of the dense CRF of MedCLIP-SAM per slice, compared with sums over all pairs of pixels.

    python benchmarks/dense_crf.py [--quick]

Uses enlarged phantom slices, the blurred label as saliency map, and one thread. The reference
multiplies by two matrices of all pairs of pixels, and runs on slices for which they fit in memory.
Prints a table with the largest difference of the marginals; the last line is a JSON object.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from scipy.ndimage import gaussian_filter, zoom  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from umsam.baselines.dense_crf import Kernels, dense_crf  # noqa: E402
from umsam.data.intensity import normalise, to_rgb_uint8  # noqa: E402
from umsam.data.phantoms import generate_case  # noqa: E402

KERNELS = Kernels(3, 3, 60, 5 / 3**0.5, 5)
LARGEST_PAIRS = 64  # largest side for the reference: 134 MB per matrix


def make_slice(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey values [size, size] and energies [2, size, size]."""
    array, label, _ = generate_case("brain", "site1-1")
    z = label.sum(axis=(1, 2)).argmax()
    scale = size / array.shape[-1]
    image = zoom(normalise(array)[z], scale, order=1, grid_mode=True, mode="nearest")
    saliency = zoom(gaussian_filter((label[z] > 0).astype(float), 2), scale, order=1,
                    grid_mode=True, mode="nearest").clip(0, 1)  # fmt: skip
    return to_rgb_uint8(image)[..., 0], -np.log(np.stack([1 - saliency, saliency]) + 1e-8)


def all_pairs(unary: np.ndarray, image: np.ndarray, updates: int) -> np.ndarray:
    """Mean field with sums over all pairs of pixels."""
    y, x = (axis.ravel().astype(float) for axis in np.indices(image.shape))
    grey = image.ravel().astype(float)
    squared_distance = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    grey_term = ((grey[:, None] - grey) / KERNELS.bilateral_grey_sigma) ** 2
    gaussian = np.exp(-squared_distance / (2 * KERNELS.gaussian_sigma**2))
    bilateral = np.exp(-squared_distance / (2 * KERNELS.bilateral_sigma**2) - grey_term / 2)
    kernels = [(KERNELS.gaussian_weight, gaussian), (KERNELS.bilateral_weight, bilateral)]
    energy = unary.reshape(len(unary), -1)
    marginals = np.exp(-energy) / np.exp(-energy).sum(axis=0)
    for _ in range(updates):
        support = 0
        for weight, kernel in kernels:
            scale = 1 / np.sqrt(kernel.sum(axis=1))
            support = support + weight * scale * ((scale * marginals) @ kernel)
        scores = np.exp(support - energy)
        marginals = scores / scores.sum(axis=0)
    return marginals.reshape(unary.shape)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two sizes of slices")
    sizes = (64, 256) if parser.parse_args().quick else (32, 64, 128, 256, 512)
    print("| slice | updates | s | s, all pairs of pixels | largest difference |")
    print("|---|---|---|---|---|")
    measured = {}
    for size in sizes:
        image, unary = make_slice(size)
        for updates in (1, 5):
            start = time.process_time()
            marginals = dense_crf(unary, image, KERNELS, updates)
            seconds = time.process_time() - start
            measured[size, updates] = {"seconds": seconds}
            brute, difference = "", ""
            if size <= LARGEST_PAIRS:
                start = time.process_time()
                expected = all_pairs(unary, image, updates)
                measured[size, updates] |= {
                    "brute": time.process_time() - start,
                    "difference": float(np.abs(marginals - expected).max()),
                }
                brute = f"{measured[size, updates]['brute']:.2f}"
                difference = f"{measured[size, updates]['difference']:.1e}"
            print(f"| {size} x {size} | {updates} | {seconds:.2f} | {brute} | {difference} |")
    result = {
        "benchmark": "dense_crf",
        "ratio_64": round(measured[64, 1]["seconds"] / measured[64, 1]["brute"], 4),
        "seconds_256": round(measured[256, 1]["seconds"], 3),
        "largest_difference": max(m.get("difference", 0.0) for m in measured.values()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
