"""Train the compact DINO on procedural images; a run that was stopped goes on from its state."""

from umsam.jobs import job

with job(snakemake):
    from pathlib import Path

    import torch

    from umsam.devices import default_device
    from umsam.files import atomic_write
    from umsam.pretraining.dino_criterion import tissue_monitor
    from umsam.pretraining.dino_training import dino_settings, procedural_source, train_dino
    from umsam.models.compact_dino import save_weights

    torch.set_num_threads(snakemake.threads)
    checkpoint = Path(snakemake.output[0])
    state_file = checkpoint.with_suffix(".state")
    settings, device = dino_settings(snakemake.params.dino), default_device()
    source, monitor = procedural_source(settings.seed), tissue_monitor()
    backbone = train_dino(settings, source, state_file, monitor=monitor, device=device)
    with atomic_write(checkpoint) as temporary:
        save_weights(backbone, temporary)
    state_file.unlink()
