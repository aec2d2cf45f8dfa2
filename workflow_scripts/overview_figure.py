"""Draw the output of each stage on one slice of one case."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.masks import read_slice_masks, slice_file
    from umsam.data.volumes import read_array, read_volume
    from umsam.figures.overview import Stages, overview_figure, select_slice
    from umsam.figures.style import Style, save_figure
    from umsam.pseudo_labels.shape_priors import read_rois

    files = snakemake.input
    volume = read_volume(files.volume)
    pseudo_label, prediction = (
        read_array(path) > 0 for path in (files.pseudo_label, files.prediction)
    )
    label = read_array(files.label) > 0 if files.get("label") else None
    z = select_slice(prediction, pseudo_label, label)
    rois = read_rois(files.rois)
    rois = rois[rois["slice"] == z].sort_values("index")
    stages = Stages(
        image=volume.array[z],
        rois=read_slice_masks(slice_file(files.masks, z)).masks,
        valid=rois["valid"].to_numpy(dtype=bool),
        pseudo_label=pseudo_label[z],
        prediction=prediction[z],
        label=None if label is None else label[z],
        pixel=volume.spacing[1:],
    )
    style = Style(**snakemake.params.figures)
    save_figure(overview_figure(stages, style), snakemake.output, style.dpi)
