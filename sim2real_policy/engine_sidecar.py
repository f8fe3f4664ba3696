"""The note beside a TensorRT engine: what it was built from, for which machine, and its proof."""

from __future__ import annotations

from datetime import datetime
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sim2real_policy.errors import closest, EngineError

SIDECAR_SCHEMA = 1
PLAN_SUFFIX, SIDECAR_SUFFIX = '.plan', '.json'
# Largest difference to ONNX Runtime, as part of max(1, |raw action|). float32 in another order
# differs by about 1e-6, half precision of such networks by 0.005; 0.2 is as much as the noise
# that policies explore with, and so the most that one can hope a policy to correct.
TOLERANCE = {'fp32': 1e-4, 'fp16': 0.02, 'int8': 0.2}

Flavor = Literal['tensorrt', 'tensorrt_rtx']
Precision = Literal['fp32', 'fp16', 'int8']


def _iso(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Digest = Annotated[str, Field(pattern=r'^[0-9a-f]{64}$')]
Extent = Annotated[tuple[Annotated[int, Field(strict=True, gt=0)], ...], Field(min_length=1)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Size = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra='forbid')


class ShapeRange(_Part):
    """Smallest, tuned-for and largest shape of an input; equal where the network fixes it."""

    min: Extent
    opt: Extent
    max: Extent


class Proof(_Part):
    """
    The engine against ONNX Runtime on ``rows`` observations.

    ``worst_raw`` is the largest difference in raw action, ``worst_rad`` in joint target [rad],
    ``worst_relative`` as part of max(1, |raw action|), which ``tolerance`` bounds. They are None
    where an answer was no finite number, and where the engine could not be run on the machine
    that built it; then ``fit`` is None as well, and ``note`` says why.
    """

    fit: Union[bool, None]
    worst_raw: Union[Size, None] = None
    worst_rad: Union[Size, None] = None
    worst_relative: Union[Size, None] = None
    tolerance: Size
    rows: Count = 0
    note: str = ''


class EngineSidecar(_Part):
    """
    The content of ``engines/NAME.json``.

    ``tensorrt_version`` has its build number where the plan tells it ('10.3.0.30');
    ``compute_capability`` such as '8.7'; an empty string means: not known. ``created`` is an
    ISO 8601 time, ``build_seconds`` a duration [s].
    """

    schema_version: Annotated[int, Field(strict=True)] = SIDECAR_SCHEMA
    plan: Text
    plan_sha256: Digest
    onnx_sha256: Digest
    contract_sha256: Digest
    flavor: Flavor
    tensorrt_version: Text
    gpu_name: str
    compute_capability: str
    os: str
    cpu: str
    precision: Precision
    shapes: dict[str, ShapeRange]
    builder: Text
    command_line: str
    build_seconds: Size
    created: Annotated[str, AfterValidator(_iso)]
    proof: Union[Proof, None] = None

    def save(self, path: Path) -> None:
        """
        Write the note.

        :param path: the file; it is replaced.
        """
        path.write_text(self.model_dump_json(indent=2) + '\n', encoding='utf-8')


def sidecar_path(plan: Path) -> Path:
    """
    Return where the note of an engine is.

    :param plan: the engine.
    """
    return plan.with_suffix(SIDECAR_SUFFIX)


def rebuild(bundle_folder: Path) -> str:
    """
    Return the end of every sentence of refusal: how to build the engine anew.

    :param bundle_folder: the bundle.
    """
    return f'rebuild it on this machine: python tools/build_engine.py {bundle_folder}'


def load_sidecar(path: Path) -> EngineSidecar:
    """
    Read and check the note beside an engine.

    :param path: the file, in the folder ``engines`` of a bundle.
    :raises EngineError: if it is missing, no JSON, of a newer schema, or has an unknown key or
        a wrong value.
    """
    again = rebuild(path.parent.parent)
    if not path.is_file():
        raise EngineError(f'{path} is missing, so nobody can tell what the engine beside it was '
                          f'built from; {again}')
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f'cannot read {path}: {error}; {again}') from None
    except ValueError as error:
        raise EngineError(f'{path} is not JSON ({error}); {again}') from None
    if not isinstance(data, dict):
        raise EngineError(f'{path} holds {type(data).__name__}, expected an object; {again}')
    _check_schema(data, path, again)
    try:
        return EngineSidecar.model_validate(data)
    except ValidationError as error:
        mistake = error.errors()[0]
        place = '.'.join(str(part) for part in mistake['loc'])
        raise EngineError(f'{path}: {place}: {mistake["msg"]} (seen: {mistake["input"]!r:.80}); '
                          f'{again}') from None


def _check_schema(data: dict[str, Any], path: Path, again: str) -> None:
    version = data.get('schema_version')
    if isinstance(version, int) and version > SIDECAR_SCHEMA:
        raise EngineError(f'{path} has schema version {version}, this package reads up to '
                          f'{SIDECAR_SCHEMA}; update sim2real_policy on this machine, or {again}')
    if version != SIDECAR_SCHEMA:
        raise EngineError(f'{path} has schema_version {version!r}, expected {SIDECAR_SCHEMA}; '
                          f'{again}')
    for key in data:
        if key not in EngineSidecar.model_fields:
            raise EngineError(f"{path}: unknown key '{key}'"
                              f'{closest(key, EngineSidecar.model_fields)}; {again}')
