"""A study of 2,000 volumes: what Snakemake needs to plan it, and K-means to cluster its ROIs.

The plan is Snakemake's own dry run of the real rules on files of a few bytes; no stage computes.
The graph of its jobs stands when their number is printed (`graph_seconds`); the rest of the dry run
tells of each. Its processor time is compared with that of 20,000 jobs of three trivial rules,
planned on the same machine right after. What one more volume runs again is the plan after a run of
100 volumes. The clustering is the real code on features of random numbers, 500 ROIs a volume, in a
process of its own for each number of volumes.

    python benchmarks/scale.py            # 2,000 volumes planned and clustered, some minutes
    python benchmarks/scale.py --quick    # 200 volumes
"""

import argparse
import json
import math
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = (
    "Snakefile",
    "config.yaml",
    "rules",
    "envs",
    "schemas",
    "profiles",
    "captions",
    "resources",
    "workflow_scripts",
)
CHAIN_AND_FITS = (
    "preprocess",
    "everything_mode",
    "shape_priors",
    "roi_features",
    "kmeans",
    "target_cluster",
    "train",
)
STUDY = "run: [study]\ndatasets:\n  study: {like: phantom, samples: scans/samples.tsv}\n"
TRIVIAL = """
rule all:
    input: expand("c/{i}", i=range(6666))
rule a:
    output: "a/{i}"
    shell: "touch {output}"
use rule a as b with:
    input: "a/{i}"
    output: "b/{i}"
use rule a as c with:
    input: "b/{i}"
    output: "c/{i}"
"""
ROIS, DIMENSIONS = 500, 64
SHAPE = 256, 256, 30
HEADER = struct.pack("<i36x8h292x", 348, 3, *SHAPE, 1, 1, 1, 1)  # what is read of a NIfTI file


def study(folder: Path, volumes: int) -> None:
    """The repository with a sample sheet: 18 of 20 volumes unlabelled ones to train on."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, folder / part)
    (folder / "study.yaml").write_text(STUDY)
    write_sheet(folder, volumes)


def write_sheet(folder: Path, volumes: int) -> None:
    scans = folder / "scans"
    scans.mkdir(exist_ok=True)
    rows = ["case\timage\tlabel\tsplit\n"]
    for number in range(volumes):
        case = f"v{number:05d}"
        split = {18: "val", 19: "test"}.get(number % 20, "train")
        label = "" if split == "train" else f"{case}_mask.nii.gz"
        for name in (f"{case}.nii.gz", label):
            if name and not (scans / name).exists():
                (scans / name).write_bytes(HEADER)
        rows.append(f"{case}\t{case}.nii.gz\t{label}\t{split}\n")
    (scans / "samples.tsv").write_text("".join(rows))


@dataclass(frozen=True)
class Done:
    """What a command printed, its seconds on the clock and the processor, peak memory in MB.

    `graph_seconds` is when it told of how many jobs there are.
    """

    text: str
    graph_seconds: float
    seconds: float
    cpu_seconds: float
    memory_mb: float


def snakemake(folder: Path, *arguments: str) -> Done:
    command = [sys.executable, "-m", "snakemake", *arguments]
    start, graph, lines = time.perf_counter(), math.nan, []
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Job stats:") and math.isnan(graph):
                graph = time.perf_counter() - start
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = "".join(lines)
    if process.returncode:
        sys.exit(text[-4000:])
    seconds = time.perf_counter() - start
    return Done(text, graph, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def jobs(text: str) -> dict[str, int]:
    rows = (line.split() for line in text.split("Job stats:")[1].split("total")[0].splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def as_finished(folder: Path, arguments: tuple[str, ...]) -> None:
    """Every output of the study as a file of a few bytes, recorded as done."""
    summary = snakemake(folder, "--dry-run", "--summary", *arguments).text
    for line in summary.splitlines():
        name = line.split("\t")[0]
        if name.startswith("results/") and not (folder / name).exists():
            path = folder / name / "slice_000.npz" if "/sam_masks/" in name else folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    snakemake(folder, "--touch", "--quiet", "all", *arguments)


def plan(volumes: int, rerun: bool) -> dict:
    """Time, memory and number of jobs of the plan; with `rerun`, the jobs of one more volume."""
    arguments = ("--cores", "1", "--configfile", "study.yaml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study(folder, volumes)
        planned = ("--dry-run", "--quiet", "all", *arguments)
        done = snakemake(folder, *planned)
        listing = snakemake(folder, "--dry-run", "--quiet", "rules", *arguments)
        listed = jobs(listing.text)
        (folder / "Snakefile.trivial").write_text(TRIVIAL)
        yardstick = snakemake(folder, *planned[:3], "--snakefile", "Snakefile.trivial")
        measured = {
            "volumes": volumes,
            "jobs": sum(listed.values()),
            "graph_seconds": round(listing.graph_seconds, 1),
            "plan_seconds": round(done.seconds, 1),
            "plan_cpu_seconds": round(done.cpu_seconds, 1),
            "ratio_to_20000_trivial_jobs": round(done.cpu_seconds / yardstick.cpu_seconds, 2),
            "plan_memory_mb": round(done.memory_mb),
        }
        if rerun:
            as_finished(folder, arguments)
            write_sheet(folder, volumes + 1)
            text = snakemake(folder, "--dry-run", "--quiet", "rules", *arguments).text
            again = {rule: count for rule, count in jobs(text).items() if rule in CHAIN_AND_FITS}
            measured["added_volume"] = again
    return measured


def cluster(volumes: int) -> None:
    """Curve, fit, assignments and their summary, as the rules do them; prints time and memory."""
    sys.path.insert(0, str(ROOT / "workflow_scripts"))
    import numpy as np
    import pandas as pd

    from umsam.figures.clusters import summarise_clusters
    from umsam.pseudo_labels.assignments import (
        AS_POOLED,
        assign_rois,
        read_features,
        roi_files,
    )
    from umsam.pseudo_labels.clustering import sse_curve
    from umsam.pseudo_labels.roi_features import write_roi_features
    from umsam.pseudo_labels.shape_priors import ROI_TYPES
    from umsam.pseudo_labels.streamed_kmeans import fit_streamed, sample

    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(10, DIMENSIONS))
    with tempfile.TemporaryDirectory() as name:
        numbers = np.arange(ROIS)
        rois = pd.DataFrame({column: np.ones(ROIS, kind) for column, kind in ROI_TYPES.items()})
        rois = rois.assign(slice=numbers // 20, index=numbers % 20, rejected_by="")
        cases = [f"v{number:05d}" for number in range(volumes)]
        for case in cases:
            features = centres[rng.integers(10, size=ROIS)] + rng.normal(size=(ROIS, DIMENSIONS))
            write_roi_features(f"{name}/{case}.npz", rois, features.astype(np.float32))
            rois.assign(case=case, area_mm2=rng.random(ROIS)).to_csv(
                f"{name}/{case}.csv", index=False
            )
        files = roi_files(
            cases,
            [f"{name}/{case}.npz" for case in cases],
            [f"{name}/{case}.csv" for case in cases],
        )
        start = time.perf_counter()

        def features_of_volumes():
            return (read_features(case) for case in files)

        sse_curve(sample(features_of_volumes, 5000, 0)[0], 2, 5, 2, 0)
        clusters = fit_streamed(features_of_volumes, 10, 3, 0, 20000)
        tables = assign_rois(
            files, clusters.centroids, AS_POOLED, "area_mm2", dict.fromkeys(cases, "train")
        )
        statistics, _ = summarise_clusters(tables)
        assert statistics["count"].sum() == volumes * ROIS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - start, "memory_mb": memory}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under five minutes on two cores")
    parser.add_argument("--cluster", type=int, metavar="VOLUMES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cluster:
        cluster(arguments.cluster)
        return
    few, many = 100, 200 if arguments.quick else 2000
    measured = {}
    for volumes in (few, many):
        command = [sys.executable, __file__, "--cluster", str(volumes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        measured[volumes] = json.loads(done.stdout.splitlines()[-1])
        print(f"{volumes} volumes, {volumes * ROIS} ROIs:", measured[volumes], flush=True)
    result = {
        "benchmark": "scale",
        **plan(many, rerun=False),
        "added_volume": plan(few, rerun=True)["added_volume"],
        "kmeans_volumes": [few, many],
        "kmeans_memory_mb": [round(measured[volumes]["memory_mb"]) for volumes in (few, many)],
        "ratio_kmeans_memory": round(measured[many]["memory_mb"] / measured[few]["memory_mb"], 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
