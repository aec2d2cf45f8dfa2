"""What the organ is called: the texts that SaLIP and MedCLIP-SAM look for, from a user's file."""

from pathlib import Path

import yaml

from umsam.errors import InputError


def read_descriptions(path: str | Path, method: str) -> list[str]:
    """The descriptions that a YAML file lists for one method.

    Raises
    ------
    InputError
        The file is missing or no YAML, or has no text under the method's name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Set baselines.descriptions to a file like "
            "resources/descriptions/fetal_brain.yaml, with texts for your organ."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({error}).") from error
    texts = content.get(method) if isinstance(content, dict) else None
    texts = [texts] if isinstance(texts, str) else texts
    usable = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
    if not usable or not all(text.strip() for text in texts):
        raise InputError(
            f"{path}: needs, under '{method}:', at least one text that describes the organ, each "
            "on a line of its own after '- ' (in quotes if it has a colon)."
        )
    return [" ".join(text.split()) for text in texts]
