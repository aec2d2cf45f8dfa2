"""What a script finds in the place of Snakemake's objects."""


class Named(dict):
    """Named files as Snakemake hands them out."""

    __getattr__ = dict.__getitem__
