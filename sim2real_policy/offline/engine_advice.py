"""From a wall of log to the first error and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
import re

# What the log says (a regular expression), and what to do. The first match counts.
ADVICE = (
    (r'[Uu]nknown option',
     'this trtexec has another version than it said; name the right one with --trtexec'),
    (r'Static model does not take explicit shapes',
     'the network fixes its batch; leave --max-batch out'),
    (r'Cannot find input tensor with name|Dimension mismatch for tensor|MIN<=OPT<=MAX|'
     r'no optimization profile has been defined|is missing dimensions in profile',
     'the network and the contract do not agree about the inputs; export the bundle again'),
    (r'within workspace limit|no implementation for node|[Ii]nsufficient workspace',
     'the builder had too little scratch memory; give it more with --workspace 1024'),
    (r'[Oo]ut of memory|OutOfMemory|\bOOM\b|cudaErrorMemoryAllocation|std::bad_alloc',
     'the board has no memory left; stop other programs, or lower --workspace'),
    (r'cudaError 35\b|driver version is insufficient|CUDA_ERROR_NO_DEVICE|no CUDA-capable device|'
     r'CUDA initialization failure',
     'no NVIDIA driver or GPU is visible here; in a container start it with --runtime nvidia'),
    (r'libnvinfer_(?:lean|dispatch|builder_resource|plugin)|error while loading shared libraries|'
     r'cannot open shared object file',
     'TensorRT is installed in part; on a Jetson: sudo apt install --reinstall tensorrt'),
    (r'Version tag does not match|incompatible serialization version|expecting library version',
     'two versions of TensorRT are mixed (pip and apt?); check LD_LIBRARY_PATH'),
    (r'not supported on Turing|for Turing \(SM75\)',
     'TensorRT for RTX cannot build fp32 for GPUs before Ampere; take --precision fp16'),
    (r'[Oo]pset|[Nn]o importer registered|Unsupported ONNX|unsupportedNode|UNSUPPORTED_NODE|'
     r'getPluginCreator could not find|[Pp]lugin not found',
     'this TensorRT does not know a part of the network; export with opset 17 or lower and '
     'without custom layers'),
    (r'[Ff]ailed to parse|Failed to deserialize model|parseFromFile|MODEL_DESERIALIZE_FAILED|'
     r'could not open file|Input file cannot be found|must have at least one output',
     'the network file is damaged; export the bundle again'),
    (r'zero_point|zero point|[Ss]hift (?:value|input)|Q/DQ|(?:Quantize|Dequantize)Linear|'
     r'QuantizeLinear',
     'this version cannot take the quantised network; take --precision fp16'),
    (r'[Nn]o space left|[Pp]ermission denied|Could not open .* for writing',
     'the engine could not be written; make room, or take a folder that this user may write'),
)
_FALLBACK = 'keep the log (--log FILE) and report it with the version of TensorRT'
_ERROR = re.compile(r'\[E\]|^&&&& FAILED|error while loading shared libraries|[Uu]nknown option|'
                    r'^Error|Permission denied', re.MULTILINE)
# Before the error of a node the ONNX parser shows the node, with the sign of an error.
_NODE = re.compile(r'While parsing node number|--- (?:Begin|End) node ---|Node name:')
# '[11/22/2026-10:00:01] [E] Error[2]: [optimizer.cpp::fn::12] Error Code 2: Internal Error (x)'
_DECORATION = re.compile(r'^(?:\[[\d/:-]+\]\s*)?(?:\[[EFWIV]\]\s*)?(?:\[TRT\]\s*)?'
                         r'(?:Error\[\d+\]:\s*)?(?:[A-Z]\w+::\w+: )?')


def first_error(lines: Iterable[str]) -> str:
    """
    Return the first line that tells an error, without time and decoration, or ''.

    The cause comes first; what follows are its consequences.

    :param lines: the log.
    """
    rows = iter(lines)
    for line in rows:
        if _ERROR.search(line) and not _NODE.search(line):
            told = _DECORATION.sub('', line.strip())
            # The parser names its function first, and the reason in the next line.
            return f'{told} {next(rows, "").strip()}'[:400] if told.endswith(':') else told[:400]
    return ''


def advice(text: str) -> str:
    """
    Return what to do about an error.

    :param text: the error, or the log around it.
    """
    return next((what for pattern, what in ADVICE if re.search(pattern, text)), _FALLBACK)


def with_advice(message: str, error: str) -> str:
    """
    Return one sentence with cause and advice.

    :param message: what is said to the user.
    :param error: where to look for the cause.
    """
    return f'{message.rstrip(". ")}; {advice(error)}'
