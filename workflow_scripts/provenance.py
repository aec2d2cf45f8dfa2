"""Record the origin of the results: code, software, settings, threads, and checksums of inputs."""

from umsam.jobs import job

with job(snakemake):
    import json
    import logging
    from datetime import UTC, datetime
    from pathlib import Path

    from umsam.files import atomic_write
    from umsam.provenance import list_checksums, list_software, read_git_state

    root = Path(snakemake.scriptdir).parent
    record = {
        "dataset": snakemake.wildcards.dataset,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": read_git_state(root),
        "settings": snakemake.params.settings,
        "threads": dict(snakemake.params.threads),
        "weights": list_checksums(snakemake.input.weights),
        "inputs": list_checksums(snakemake.input.files),
        "software": list_software(sorted((root / "envs").glob("*.yaml"))),
    }
    with atomic_write(snakemake.output.provenance) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")
    logging.info("%d input files, %d weight files", len(record["inputs"]), len(record["weights"]))
