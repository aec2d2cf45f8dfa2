"""Stand-ins for the objects that Snakemake gives to a script."""


class Named(dict):
    """Named files with access by attribute, as in Snakemake."""

    __getattr__ = dict.__getitem__
