"""The texts that SaLIP and MedCLIP-SAM search for, from a file of the user."""

from pathlib import Path

import yaml

from umsam.errors import InputError

EXAMPLE = "resources/descriptions/fetal_brain.yaml"


def read_descriptions(path: str | Path | None, method: str) -> list[str]:
    """The descriptions that a YAML file lists for one method.

    Raises
    ------
    InputError
        The file is missing, is not YAML, or has no text under the method's name.
    """
    if path is None or not Path(path).is_file():
        raise InputError(
            f"{'baselines.descriptions is null' if path is None else f'{path}: no such file'}. Set "
            f"baselines.descriptions to a file like {EXAMPLE}, with texts for your organ."
        )
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({error}).") from error
    stated = content.get(method) if isinstance(content, dict) else None
    texts: list[str] = [stated] if isinstance(stated, str) else stated or []
    listed = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    if not texts or not listed or not all(text.strip() for text in texts):
        raise InputError(
            f"{path}: needs at least one text that describes the organ under '{method}:', each on "
            "its own line after '- ' (in quotes if it has a colon)."
        )
    return [" ".join(text.split()) for text in texts]
