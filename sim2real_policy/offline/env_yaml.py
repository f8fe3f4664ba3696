"""
Reads the YAML files of a training run without running anything that stands in them.

Isaac Lab and mjlab write Python tags (tuples, slices, functions, enums). Tuples and slices become
themselves, a function becomes its name; every other tag becomes a ``PythonTag``, which only
matters where a field holding one is used.
"""

# PyYAML has no types of its own.
# mypy: allow-subclassing-any

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim2real_policy.errors import ImportRunError
import yaml

PYTHON = 'tag:yaml.org,2002:python/'
_SLICE = f'{PYTHON}object/apply:builtins.slice'


@dataclass(frozen=True)
class PythonTag:
    """A Python object that was not built: its tag, such as ``object/apply:m.f``, and content."""

    tag: str
    content: Any = None


class _RunLoader(yaml.SafeLoader):
    """SafeLoader that also knows the tags of the dumper; it never imports or calls a name."""


def _tuple(loader: _RunLoader, node: yaml.Node) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(
            None, None, 'a tuple must be written as a sequence', node.start_mark)
    return tuple(loader.construct_sequence(node, deep=True))


def _tagged(loader: _RunLoader, suffix: str, node: yaml.Node) -> Any:
    content = _content(loader, node)
    if node.tag == _SLICE and isinstance(content, list) and len(content) == 3:
        return slice(*content)
    if suffix.startswith('name:'):
        return suffix[len('name:'):]
    return PythonTag(suffix, content)


def _content(loader: _RunLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return node.value


_RunLoader.add_constructor(f'{PYTHON}tuple', _tuple)
_RunLoader.add_multi_constructor(PYTHON, _tagged)


def load_training_yaml(path: Path) -> dict[str, Any]:
    """
    Read ``env.yaml`` or ``agent.yaml``; mappings keep the order of the file.

    :param path: the file.
    :raises ImportRunError: if it is missing, not YAML, or not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding='utf-8'), Loader=_RunLoader)  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ImportRunError(f'cannot read {path}: {error}; expected the file that the trainer '
                             'wrote there. Give the folder of a training run') from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise ImportRunError(f'{path} is not readable YAML: {reason:.200}; expected the file as '
                             'the trainer wrote it. Copy it again') from None
    if not isinstance(data, dict):
        raise ImportRunError(f'{path} holds {type(data).__name__}, expected a mapping as the '
                             'trainer wrote it. Copy it again')
    return data
