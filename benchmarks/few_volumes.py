"""Pseudo-labels from few training volumes: subsets of a finished run, clustered again.

    python benchmarks/few_volumes.py RESULTS SETTINGS [--volumes 3 4 6 8] [--draws 30]

RESULTS is the results folder of a data set in which every case has features and a label, for
example results/prostate. SETTINGS is a shipped data set, for example promise12_laptop. For each
number of volumes, random subsets are clustered twice: with these settings, and without centring and
evidence (the cluster nearest to the prior). The benchmark prints the mean DSC of the pseudo-labels
of the chosen cluster and of the best cluster; the last line is a JSON object.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from umsam.data.masks import read_slice_masks, slice_file  # noqa: E402
from umsam.data.volumes import read_array  # noqa: E402
from umsam.numbers import parse_number  # noqa: E402
from umsam.planning.configuration import Settings  # noqa: E402
from umsam.pseudo_labels.assignments import (  # noqa: E402
    assign_rois,
    roi_files,
    training_features,
)
from umsam.pseudo_labels.pseudo_labels import choose, read_links, target_rois  # noqa: E402
from umsam.pseudo_labels.shape_priors import read_rois, read_valid_rois  # noqa: E402
from umsam.pseudo_labels.streamed_kmeans import fit_streamed  # noqa: E402
from umsam.pseudo_labels.target import (  # noqa: E402
    choose_target,
    counts_and_sums,
    mean_continuity,
)

PLAIN = {"clustering": {"centre_per_volume": False}, "target": {"choose_by": "prior"}}


class Case:
    """The ROIs of a volume, their overlap with its label, and their links."""

    def __init__(self, results: Path, name: str, select: str) -> None:
        label = read_array(results / f"labels/{name}.nii.gz") > 0
        self.rois = read_rois(results / f"rois/{name}.csv")
        self.positive, self.masks = int(label.sum()), results / f"sam_masks/{name}"
        self.overlap = {}
        valid = read_valid_rois(results / f"rois/{name}.csv")
        for z, rois in valid.groupby("slice"):
            masks = read_slice_masks(slice_file(self.masks, z)).masks
            for index in rois["index"]:
                self.overlap[z, index] = int((masks[index] & label[z]).sum())
        self.links = read_links(self.masks, valid) if select == "continuous" else {}

    def dsc(self, assigned: pd.DataFrame, cluster: int, select: str, prior: float) -> float:
        """DSC of the pseudo-label from a cluster; not for `union`, whose ROIs overlap."""
        chosen = choose(target_rois(assigned, self.rois, cluster), select, prior, self.links)
        places = zip(chosen["slice"], chosen["index"], strict=True)
        common = sum(self.overlap[place] for place in places)
        return 2 * common / (int(chosen["pixels"].sum()) + self.positive)


def one_draw(results: Path, cases: dict[str, Case], names: list[str], settings: dict, seed: int):
    """DSC of the pseudo-labels from the chosen cluster and from the best one."""
    clustering, target = settings["clustering"], settings["target"]
    attribute, prior = target["attribute"], parse_number(target["prior"])
    files = roi_files(
        names,
        [results / f"roi_features/{name}.npz" for name in names],
        [results / f"rois/{name}.csv" for name in names],
    )
    space, features = training_features(files, clustering)
    clusters = fit_streamed(features, clustering["k"], clustering["n_init"], seed, None)
    tables = list(assign_rois(files, clusters.centroids, space, attribute))
    counts, sums = counts_and_sums(tables, clusters.k)
    continuity = None
    if target["choose_by"] == "evidence":
        folders = {name: cases[name].masks for name in names}
        continuity = mean_continuity(tables, folders, clusters.k)
    chosen = choose_target(counts, sums, prior, 0.0, attribute, continuity).cluster
    dsc = [
        np.mean(
            [
                cases[name].dsc(table, cluster, target["select"], prior)
                for name, table in zip(names, tables, strict=True)
            ]
        )
        for cluster in range(clusters.k)
    ]
    return dsc[chosen], max(dsc)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("settings")
    parser.add_argument("--volumes", type=int, nargs="+", default=[3, 4, 6, 8])
    parser.add_argument("--draws", type=int, default=30)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # near ties, in every draw

    settings = Settings({"run": [options.settings]}, ROOT).of(options.settings)
    plain = {name: settings[name] | PLAIN[name] for name in PLAIN}
    names = sorted(path.stem for path in (options.results / "roi_features").glob("*.npz"))
    select = settings["target"]["select"]
    cases = {name: Case(options.results, name, select) for name in names}
    table = {}
    print(f"{'volumes':>7}  {'plain':>6} {'best':>6}  {'as set':>6} {'best':>6}   (mean DSC, %)")
    for count in options.volumes:
        rng = np.random.default_rng(count)
        draws = [
            sorted(rng.choice(names, count, replace=False).tolist()) for _ in range(options.draws)
        ]
        row = [
            np.mean(
                [
                    one_draw(options.results, cases, drawn, chosen, seed)
                    for seed, drawn in enumerate(draws)
                ],
                axis=0,
            )
            for chosen in (plain, settings)
        ]
        table[count] = [round(100 * float(value), 1) for value in np.concatenate(row)]
        print("{:>7}  {:>6} {:>6}  {:>6} {:>6}".format(count, *table[count]), flush=True)
    print(json.dumps({"plain, best, as set, best": table}))


if __name__ == "__main__":
    main()
