"""What made a data set's results: code, software, settings, checksums of volumes and weights."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from datetime import UTC, datetime
    from pathlib import Path

    from umsam.files import atomic_write
    from umsam.provenance import checksums, git_state, software

    root = Path(snakemake.scriptdir).parent
    record = {
        "dataset": snakemake.wildcards.dataset,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(root),
        "settings": snakemake.params.settings,
        "weights": checksums(snakemake.input.weights),
        "inputs": checksums(snakemake.input.files),
        "software": software(sorted((root / "envs").glob("*.yaml"))),
    }
    with atomic_write(snakemake.output.provenance) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")
    logging.info("%d input files, %d of weights", len(record["inputs"]), len(record["weights"]))
