"""What the organ is called: the texts that SaLIP and MedCLIP-SAM look for, from a user's file."""

from pathlib import Path

import yaml

from umsam.errors import InputError

EXAMPLE = "resources/descriptions/fetal_brain.yaml"


def read_descriptions(path: str | Path | None, method: str) -> list[str]:
    """The descriptions that a YAML file lists for one method.

    Raises
    ------
    InputError
        There is no file, or it is no YAML, or has no text under the method's name.
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
    texts = content.get(method) if isinstance(content, dict) else None
    texts = [texts] if isinstance(texts, str) else texts
    usable = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
    if not usable or not all(text.strip() for text in texts):
        raise InputError(
            f"{path}: needs, under '{method}:', at least one text that describes the organ, each "
            "on a line of its own after '- ' (in quotes if it has a colon)."
        )
    return [" ".join(text.split()) for text in texts]
