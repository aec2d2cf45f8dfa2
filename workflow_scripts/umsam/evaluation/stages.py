"""What each stage cost, from the measurements that Snakemake leaves of each job.

Each job counts as it was last measured, those of cases and methods that have since left the run
included.
"""

from pathlib import Path

import pandas as pd

STAGE_COLUMNS = ["dataset", "stage", "jobs", "seconds", "longest_s", "peak_memory_mb"]


def stages_table(dataset: str, folder: str | Path) -> pd.DataFrame:
    """One row a rule: number of jobs, their wall time in all and at most, highest peak memory.

    Parameters
    ----------
    folder
        Holds ``{rule}.tsv`` or ``{rule}/**.tsv`` as written by Snakemake's ``benchmark:``, with
        the columns ``s`` (seconds) and ``max_rss`` (MB; absent for a job too short to measure).

    Returns
    -------
    Sorted by seconds, longest first. Jobs run side by side, so their sum is not the run's time.
    """
    folder = Path(folder)
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        measured = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        for _, job in measured.iterrows():
            stage = path.relative_to(folder).parts[0].removesuffix(".tsv")
            rows.append((dataset, stage, float(job["s"]), pd.to_numeric(job["max_rss"])))
    jobs = pd.DataFrame(rows, columns=["dataset", "stage", "s", "max_rss"])
    table = jobs.groupby(["dataset", "stage"], as_index=False).agg(
        jobs=("s", "size"), seconds=("s", "sum"), longest_s=("s", "max"), peak=("max_rss", "max")
    )
    table = table.rename(columns={"peak": "peak_memory_mb"})[STAGE_COLUMNS]
    return table.sort_values("seconds", ascending=False, ignore_index=True).round(1)
