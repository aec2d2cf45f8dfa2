"""The settings of a data set: defaults, what it is `like`, and what it states itself."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from umsam.errors import InputError
from umsam.planning.validation import check, check_resolved, read_yaml, suggest
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
                f"datasets:{suggest(name, datasets)}. Blocks: {', '.join(sorted(datasets))}."
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
