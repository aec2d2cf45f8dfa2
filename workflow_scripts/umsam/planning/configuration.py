"""Settings of a data set: the defaults, what it is `like`, and what it states itself; checked."""

import difflib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.numbers import as_number

SECTIONS = (
    "intensity",
    "sam",
    "shape_priors",
    "dino",
    "clustering",
    "target",
    "training",
    "prediction",
    "baselines",
    "evaluation",
    "figures",
)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; mappings merge key by key, everything else replaces."""
    result = deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else deepcopy(value)
    return result


def resolve(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The complete settings of one data set.

    The sections at the top of the configuration are the defaults; a block ``like: other`` starts
    from the science of `other` (never from its files: `samples`, `data_root` and `phantom` are
    each data set's own), and what the block states itself comes last.

    Raises
    ------
    InputError
        The data set, or one that it is like, has no block; or the chain goes round in a circle.
    """
    datasets = config["datasets"]
    chain: list[str] = []
    name: str | None = dataset
    while name is not None:
        if name not in datasets:
            asked = f"datasets.{chain[-1]}.like" if chain else "run"
            raise InputError(
                f"configuration: {asked} names the data set {name!r}, which has no block under "
                f"datasets:{_suggestion(name, datasets)}. Blocks: {', '.join(sorted(datasets))}."
            )
        if name in chain:
            raise InputError(
                f"configuration: 'like' goes in a circle: {' -> '.join([*chain, name])}."
            )
        chain.append(name)
        name = datasets[name].get("like")

    settings: dict[str, Any] = {section: deepcopy(config[section]) for section in SECTIONS}
    for ancestor in reversed(chain):
        science = {key: value for key, value in datasets[ancestor].items() if key in SECTIONS}
        settings = merged(settings, science)
    own = {key: value for key, value in datasets[dataset].items() if key not in SECTIONS}
    return _in_order({**settings, **own})


def _in_order(value: Any) -> Any:
    """Mappings with sorted keys: what is equal then also looks equal, to whoever compares text."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return value


def check(config: Mapping[str, Any], schema_file: str | Path) -> None:
    """Check the configuration against its (closed) JSON schema.

    Raises
    ------
    InputError
        Every key that is unknown or has a value that cannot be meant, one line each.
    """
    import jsonschema
    import yaml

    schema = yaml.safe_load(Path(schema_file).read_text())
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(config), key=lambda e: list(e.path)
    )
    if errors:
        lines = "\n".join(f"  - {_explain(error)}" for error in errors)
        raise InputError(
            f"configuration: {len(errors)} value(s) to correct (config.yaml, or the file or "
            f"--config option that overrides it):\n{lines}"
        )


ORDERED = (
    ("intensity", "lower_percentile", "upper_percentile"),
    ("shape_priors", "v_min", "v_max"),
    ("shape_priors", "a_min", "a_max"),
    ("shape_priors", "x_min", "x_max"),
    ("shape_priors", "y_min", "y_max"),
)


def check_resolved(settings: Mapping[str, Any], dataset: str) -> None:
    """Check that resolved settings fit together.

    Raises
    ------
    InputError
        A lower bound does not lie below its upper bound, or a key asks for what another one rules
        out. Names both keys, their values and the data set.
    """
    sam = settings["sam"]
    if sam["generator"] == "reference" and sam["precision"] != "fp32":
        raise InputError(
            f"configuration: for the data set {dataset!r}, sam.precision is {sam['precision']}, "
            "but sam.generator: reference computes in fp32 alone. Use generator: fast, or fp32."
        )
    pairs = [
        (f"{section}.{low}", settings[section][low], f"{section}.{high}", settings[section][high])
        for section, low, high in ORDERED
    ]
    pairs.append(("clustering.sse_k[0]", settings["clustering"]["sse_k"][0],
                  "clustering.sse_k[1]", settings["clustering"]["sse_k"][1]))  # fmt: skip
    for low, low_value, high, high_value in pairs:
        if as_number(low_value) >= as_number(high_value):
            raise InputError(
                f"configuration: for the data set {dataset!r}, {low} ({low_value}) must be below "
                f"{high} ({high_value})."
            )


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error.path) or "top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = sorted(set(error.instance) - set(known))
        hints = "; ".join(f"unknown key {key!r}{_suggestion(key, known)}" for key in unknown)
        return f"{where}: {hints}"
    if error.validator in ("anyOf", "oneOf") and "description" in error.schema:
        return f"{where}: {error.instance!r} is not {error.schema['description']}"
    return f"{where}: {error.message}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
