"""Where the package's own files are: in the clone, in a colcon workspace, or beside the code."""

from __future__ import annotations

import os
from pathlib import Path

from sim2real_policy.errors import ConfigError

PACKAGE = Path(__file__).parent
PUP_BUNDLE = PACKAGE / 'simulation' / 'pup' / 'bundle'


def config_file(name: str) -> Path:
    """
    Return a file of ``config/``.

    :param name: such as ``pup.yaml``.
    :raises ConfigError: if it is not installed.
    """
    share = Path('share', 'sim2real_policy', 'config', name)
    ament = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    prefixes = [*(Path(prefix) for prefix in ament if prefix), *PACKAGE.parents]
    places = [PACKAGE.parent / 'config' / name,
              *(prefix / share for prefix in prefixes)]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(f'config/{name} was not found in {[str(place) for place in places]}; '
                      'name the file, or install the package again')
