"""Train the compact DINO on generated images; an interrupted run resumes from its state."""

from umsam.jobs import job

with job(snakemake, threads=snakemake.params.threads):
    from pathlib import Path

    import torch

    from umsam.devices import default_device
    from umsam.files import atomic_write
    from umsam.models.compact_dino import save_compact_dino
    from umsam.pretraining.dino_criterion import tissue_monitor
    from umsam.pretraining.dino_training import DinoSettings, procedural_source, train_dino
    from umsam.pretraining.settings import from_configuration

    torch.set_num_threads(snakemake.params.threads)
    settings = from_configuration(DinoSettings, snakemake.params.dino, "pretraining.dino")
    checkpoint = Path(snakemake.output[0])
    state_file = checkpoint.with_suffix(".state")
    source, monitor = procedural_source(settings.seed), tissue_monitor()
    backbone = train_dino(settings, source, state_file, monitor, device=default_device())
    with atomic_write(checkpoint) as temporary:
        save_compact_dino(backbone, temporary)
    state_file.unlink()
