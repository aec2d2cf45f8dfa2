"""The settings of a data set: defaults, what it is `like`, and what it states itself; checked."""

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.numbers import parse_number
from umsam.planning.wildcards import Wildcards

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


class Settings:
    """The configuration of a run, complete and checked.

    Parameters
    ----------
    config
        What the user states, in files and on the command line.
    root
        Folder of the workflow, which holds config.yaml, resources/ and schemas/.

    Raises
    ------
    InputError
        A key is unknown, a value is impossible, or settings contradict each other.
    """

    def __init__(self, config: Mapping[str, Any], root: str | Path) -> None:
        self.root = Path(root)
        self.config = with_defaults(config, self.root)
        check(self.config, self.root / "schemas/config.schema.yaml")
        self.of = cache(self._resolve)
        for dataset in self.run:
            self.of(dataset)

    @property
    def run(self) -> list[str]:
        """The data sets to run."""
        return self.config["run"]

    @property
    def datasets(self) -> Mapping[str, Mapping[str, Any]]:
        """The blocks of all configured data sets."""
        return self.config["datasets"]

    def _resolve(self, dataset: str) -> dict[str, Any]:
        settings = resolve(self.config, dataset)
        check_resolved(settings, dataset)
        return settings

    def section(self, name: str) -> Callable[[Wildcards], Any]:
        """A function of the wildcards that gives one section of the data set's settings."""
        return lambda wildcards: self.of(wildcards.dataset)[name]

    def value(self, path: str) -> Callable[[Wildcards], Any]:
        """The same for one value, by a dotted path such as clustering.k."""

        def value(wildcards: Wildcards) -> Any:
            result: Any = self.of(wildcards.dataset)
            for key in path.split("."):
                result = result[key]
            return result

        return value

    def shipped(self, file: str) -> str:
        """Path of a file of the workflow, seen from the working directory."""
        return shipped_path(file, self.root)


def shipped_path(file: str, root: Path) -> str:
    """`file` itself where `root` is the working directory, else its path below `root`."""
    return file if root.resolve() == Path.cwd() else str(root / file)


def with_defaults(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The defaults of config.yaml and the data sets of resources/datasets, with `config` over them.

    A shipped data set's own files are found from any working directory.
    """
    datasets = {}
    for path in sorted((root / "resources/datasets").glob("*.yaml")):
        block = read_yaml(path)
        for place in (block, block.get("baselines", {})):
            for key in ("samples", "descriptions"):
                if place.get(key) and (root / place[key]).is_file():
                    place[key] = shipped_path(place[key], root)
        datasets[path.stem] = block
    stated = {key: value for key, value in config.items() if value is not None}
    complete = merge(merge(read_yaml(root / "config.yaml"), {"datasets": datasets}), stated)
    if isinstance(complete.get("run"), str):
        complete["run"] = [name.strip() for name in complete["run"].split(",")]
    return complete


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file, by the fast parser where PyYAML has it."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=loader)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; mappings merge key by key, everything else replaces."""
    result = deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge(result[key], value) if both else deepcopy(value)
    return result


def resolve(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The complete settings of one data set.

    The sections at the top of the configuration are the defaults. A block with ``like: other``
    starts from the sections of `other`, but not from its files: `samples`, `data_root` and
    `phantom` belong to one data set. What the block states itself comes last.

    Raises
    ------
    InputError
        The data set, or one that it is like, has no block, or the chain of `like` is a circle.
    """
    datasets = config["datasets"]
    chain: list[str] = []
    name: str | None = dataset
    while name is not None:
        if name not in datasets:
            key = f"datasets.{chain[-1]}.like" if chain else "run (or a file that you asked for)"
            raise InputError(
                f"configuration: {key} names the data set {name!r}, which has no block under "
                f"datasets:{_suggestion(name, datasets)}. Blocks: {', '.join(sorted(datasets))}."
            )
        if name in chain:
            raise InputError(
                f"configuration: 'like' goes in a circle: {' -> '.join([*chain, name])}. Remove it "
                "from one of these blocks."
            )
        chain.append(name)
        name = datasets[name].get("like")

    settings: dict[str, Any] = {section: deepcopy(config[section]) for section in SECTIONS}
    for ancestor in reversed(chain):
        stated = {key: value for key, value in datasets[ancestor].items() if key in SECTIONS}
        settings = merge(settings, stated)
    own = {key: value for key, value in datasets[dataset].items() if key not in SECTIONS}
    return _sort_keys({**settings, **own})


def _sort_keys(value: Any) -> Any:
    """Mappings with sorted keys, so that equal settings have equal text."""
    if isinstance(value, Mapping):
        return {key: _sort_keys(value[key]) for key in sorted(value)}
    return value


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
    return f"unknown key {key!r}{_suggestion(key, known)}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
