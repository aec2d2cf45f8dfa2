"""Checks of the configuration: against its schema, and of settings against each other."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.numbers import parse_number

# Section -> former key -> what to write instead.
RENAMED = {
    "clustering": {
        "rim": "rim_width",
        "whiten": "pca_components",
        "position": "position_weight",
        "centre": "centre_per_volume",
    },
    "training": {
        "targets": "label_source",
        "crop": "patch_size",
        "noise_sd": "noise_std",
        "noise_p": "noise_prob",
        "feature_unit": "feature_scale",
        "empty_slices": "empty_slice_fraction",
        "weight_average": "ema_decay",
    },
    "weights": {"model": "hub", "files": "sha256"},
}
REMOVED = {"dino": ("adapt", "adapt_steps")}
ORDERED = (
    ("intensity", "lower_percentile", "upper_percentile"),
    ("shape_priors", "v_min", "v_max"),
    ("shape_priors", "a_min", "a_max"),
    ("shape_priors", "x_min", "x_max"),
    ("shape_priors", "y_min", "y_max"),
)


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file, by the fast parser where PyYAML has it."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=loader)


def check(config: Mapping[str, Any], schema_file: str | Path) -> None:
    """Check the configuration against its JSON schema, which admits no unknown key.

    Raises
    ------
    InputError
        Names every unknown key and every impossible value, one line each.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(read_yaml(schema_file))
    errors = sorted(validator.iter_errors(config), key=lambda error: list(map(str, error.path)))
    faults = [_explain(error) for error in errors]
    faults += [f"{path}: {value} is not a finite number" for path, value in _not_finite(config)]
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise InputError(
            f"configuration: {len(faults)} value(s) to correct (in config.yaml, or in the file or "
            f"--config option that overrides it):\n{lines}"
        )


def _not_finite(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The path and value of every number that is infinite or NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, entry in pairs:
        yield from _not_finite(entry, f"{path}.{key}" if path else str(key))


def check_resolved(settings: Mapping[str, Any], dataset: str) -> None:
    """Check that the settings of a data set agree with each other.

    Raises
    ------
    InputError
        A lower bound is not below its upper bound, or one key rules out the value of another. Names
        both keys, their values and the data set.
    """
    sam = settings["sam"]
    if sam["generator"] == "reference" and sam["precision"] != "fp32":
        raise InputError(
            f"configuration: for the data set {dataset!r}, sam.precision is {sam['precision']}, "
            "but sam.generator: reference only computes in fp32. Use generator: fast, or fp32."
        )
    pairs = [
        (f"{section}.{low}", settings[section][low], f"{section}.{high}", settings[section][high])
        for section, low, high in ORDERED
    ]
    first, last = settings["clustering"]["sse_k"]
    pairs.append(("clustering.sse_k[0]", first, "clustering.sse_k[1]", last))
    for low, low_value, high, high_value in pairs:
        if parse_number(low_value) >= parse_number(high_value):
            raise InputError(
                f"configuration: for the data set {dataset!r}, {low} ({low_value}) must be below "
                f"{high} ({high_value})."
            )


def _explain(error: Any) -> str:
    """One line on a violation of the schema."""
    where = ".".join(str(part) for part in error.path) or "top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = sorted(set(error.instance) - set(known))
        return f"{where}: {'; '.join(_explain_key(error.path, key, known) for key in unknown)}"
    if error.validator in ("anyOf", "oneOf") and "description" in error.schema:
        return f"{where}: {error.instance!r} is not {error.schema['description']}"
    return f"{where}: {error.message}{_hint(error)}"


def _hint(error: Any) -> str:
    """What to write instead, for mistakes that the schema's own message does not explain."""
    if error.validator == "type" and isinstance(error.instance, str):
        try:
            number = float(error.instance)
        except ValueError:
            return ""
        if error.instance.lstrip("+-")[:1].isdigit() and "e" in error.instance.lower():
            return f": YAML takes it for text; write {number!r}, or a number with a dot"
        return ": nested values given with --config are text; use --configfile"
    if error.validator == "type" and error.instance is None and error.validator_value == "object":
        return ": the block is empty; fill it in, or delete its key"
    if error.validator == "required" and "samples" in error.message:
        return ": state the path of the sample sheet (see docs/own-data.md)"
    return ""


def _explain_key(path: Iterable[Any], key: str, known: Iterable[str]) -> str:
    """What to do about an unknown key: its present name, or one that looks like it."""
    for section in path:
        if new := RENAMED.get(section, {}).get(key):
            return f"the key {key!r} is called {new!r}"
        if key in REMOVED.get(section, ()):
            return f"the key {key!r} does not exist any more: delete it"
    return f"unknown key {key!r}{suggest(key, known)}"


def suggest(name: str, known: Iterable[str]) -> str:
    """A known name that looks like `name`, as the end of a message; empty if there is none."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
