"""Settings in YAML: numbers, words and truths; whatever would build an object is taken as the plain data it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaling.errors import TableError
from scaling.readers.bounds import read_small

EXTRA = "logs"


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. References to other parts of the document are refused: they can unfold without end."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise TableError(
            f"{path} is YAML: install the extra that reads it, pip install 'scaling-sweeps[{EXTRA}]'"
        ) from None

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise TableError(f"{path} refers to parts of itself (an alias); write them out")
            return super().compose_node(parent, index)

    def plain(loader: Any, _: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Plain.add_multi_constructor("tag:yaml.org,2002:python/", plain)
    Plain.add_multi_constructor("!", plain)
    try:
        record = yaml.load(read_small(path, "a file of settings"), Loader=Plain)
    except RecursionError:
        raise TableError(f"{path} is nested too deeply to be settings") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"cannot read {path} as YAML: {' '.join(str(error).split())}") from None
    if record is None:
        return {}
    if not isinstance(record, dict):
        raise TableError(f"{path} holds no settings by name")
    return record
