"""The cost of each stage, from Snakemake's benchmark files.

Each job counts with its last measurement, even if its case or method has since left the run.
"""

from pathlib import Path

import pandas as pd

STAGE_COLUMNS = ["dataset", "stage", "jobs", "seconds", "longest_s", "peak_memory_mb"]


def stages_table(dataset: str, folder: str | Path) -> pd.DataFrame:
    """Sum up the jobs of each rule: number, total and longest wall time, highest peak memory.

    Parameters
    ----------
    dataset
        Name of the data set.
    folder
        Holds ``{rule}.tsv`` or ``{rule}/**.tsv`` as written by Snakemake's ``benchmark:``, with
        the columns ``s`` (seconds) and ``max_rss`` (MB; absent if the job was too short).

    Returns
    -------
    One row per rule, sorted by seconds, longest first. Jobs run in parallel, so the sum of the
    seconds is not the duration of the run.
    """
    folder = Path(folder)
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        stage = path.relative_to(folder).parts[0].removesuffix(".tsv")
        measurements = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        for _, job in measurements.iterrows():
            rows.append((dataset, stage, float(job["s"]), pd.to_numeric(job["max_rss"])))
    jobs = pd.DataFrame(rows, columns=["dataset", "stage", "s", "max_rss"])
    table = jobs.groupby(["dataset", "stage"], as_index=False).agg(
        jobs=("s", "size"), seconds=("s", "sum"), longest_s=("s", "max"), peak=("max_rss", "max")
    )
    table = table.rename(columns={"peak": "peak_memory_mb"})[STAGE_COLUMNS]
    return table.sort_values("seconds", ascending=False, ignore_index=True).round(1)
