"""Draw Fig. 2, the contours of labels and predictions on test volumes."""

from umsam.jobs import job

with job(snakemake):
    from umsam.data.volumes import read_array, read_volume
    from umsam.evaluation.case_metrics import case_name
    from umsam.figures.contours import Case, contour_figure
    from umsam.figures.style import Style, save_figure
    from umsam.jobs import progress

    columns = dict(snakemake.params.columns)  # method -> title, in the order of the columns
    labels = {case_name(path): path for path in snakemake.input.labels}
    predictions: dict[str, dict[str, str]] = {}
    for path in snakemake.input.predictions:
        method = path.split("/")[-2]
        predictions.setdefault(case_name(path), {})[columns[method]] = path

    cases = []
    for path in progress(snakemake.input.volumes, len(snakemake.input.volumes), "volumes"):
        volume, name = read_volume(path), case_name(path)
        label = read_array(labels[name]) > 0 if name in labels else None
        masks = {title: read_array(file) > 0 for title, file in predictions.get(name, {}).items()}
        cases.append(Case(name, volume.array, volume.spacing, label, masks))

    style = Style(**snakemake.params.figures)
    figure = contour_figure(cases, list(columns.values()), style)
    save_figure(figure, snakemake.output, style.dpi)
