"""YAML whose scalars stay as they were written. Leaf, pure.

What a value is, its setting decides, not its looks: ``off`` is a word where a word is wanted, ``00123`` keeps its
zeros as an id, and 2025-10-29 is no date before somebody asks for one. Only an empty plain scalar, ``~`` and ``null``
are None. Keys given twice, tags, anchors and aliases are refused: a configuration needs none of them, and the last two
are how small files grow without bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_STANDARD_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class NotYaml(ValueError):
    """The text cannot be read. ``line`` and ``column`` count from 1; ``what`` quotes nothing of the text."""

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {what}")
        self.what, self.line, self.column = what, line, column


def compose(text: str) -> yaml.Node | None:
    """The text's tree of nodes with their places; None where it is empty. Raises NotYaml."""
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _refusal("anchors and aliases are not read", event.start_mark)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        raise _refusal(error.problem or "is not YAML", error.problem_mark or error.context_mark) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise NotYaml("a character that YAML does not allow", line, column) from None
    except RecursionError:
        raise NotYaml("is nested too deeply", 1, 1) from None
    return node


def read(text: str) -> Any:
    """The text's value: None, text, lists and mappings of them. Raises NotYaml."""
    node = compose(text)
    return None if node is None else value_of(node)


def value_of(node: yaml.Node) -> Any:
    """A node's value: None, text, lists and mappings of them. Raises NotYaml."""
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, line, inner in entries(node):
            if key in found:
                raise NotYaml(f"{key} is given twice", line, 1)
            found[key] = value_of(inner)
        return found
    if node.tag not in _STANDARD_TAGS:
        raise _refusal("tags are not read", node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        return [value_of(inner) for inner in node.value]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return None if plain and node.value in _NULLS else str(node.value)


def entries(node: yaml.MappingNode) -> Iterator[tuple[str, int, yaml.Node]]:
    """The key, its line and the value's node of every entry, keys given twice included. Raises NotYaml."""
    if node.tag not in _STANDARD_TAGS:
        raise _refusal("tags are not read", node.start_mark)
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _refusal("a key must be a word", key_node.start_mark)
        yield key_node.value, key_node.start_mark.line + 1, value_node


def lines_of(node: yaml.Node, prefix: str) -> Iterator[tuple[str, int]]:
    """The dotted place and the line of everything inside a value."""
    if isinstance(node, yaml.MappingNode):
        for key_node, inner in node.value:
            yield f"{prefix}.{key_node.value}", key_node.start_mark.line + 1
            yield from lines_of(inner, f"{prefix}.{key_node.value}")
    elif isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            yield f"{prefix}.{index}", inner.start_mark.line + 1
            yield from lines_of(inner, f"{prefix}.{index}")


def _refusal(what: str, mark: Any) -> NotYaml:
    return NotYaml(what, mark.line + 1, mark.column + 1) if mark is not None else NotYaml(what, 1, 1)
