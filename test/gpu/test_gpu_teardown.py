"""
Rule: however a runner ends, the process ends as it should.

pycuda aborts the process (exit code 134) when a thread ends with a context still pushed, and
complains where something is freed without one. Each case is a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Run = Callable[[str], CompletedProcess[str]]
ABORTED = -6
COMPLAINTS = ('PyCUDA', 'could not be cleaned up', 'freed without a context', 'Warning',
              'Exception ignored')

THREADED = """
import threading
def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
kept = []
def make():
    kept.append(TensorRTRunner(bundle, plan))
    kept[0].run()
"""

CASES = {
    'closed': 'r = TensorRTRunner(bundle, plan); r.run(); r.close()',
    'closed twice': 'r = TensorRTRunner(bundle, plan); r.run(); r.close(); r.close()',
    'never closed': 'r = TensorRTRunner(bundle, plan); r.run()',
    'never closed, its buffers still seen': """
r = TensorRTRunner(bundle, plan); r.run(); seen = r.output[0]; del r""",
    'deleted': 'r = TensorRTRunner(bundle, plan); r.run(); del r',
    'deleted in a cycle': """
import gc
r = TensorRTRunner(bundle, plan); r.run(); r.me = r; del r; gc.collect()""",
    'two, closed in the order of their making': """
a, b = TensorRTRunner(bundle, plan), TensorRTRunner(bundle, plan)
a.run(); b.run(); a.close(); b.run(); b.close()""",
    'buffers read after closing': """
r = TensorRTRunner(bundle, plan); r.run(); r.close(); r.input[0] = 1.0; float(r.output.sum())""",
    'an error within a tick, caught': """
r = TensorRTRunner(bundle, plan)
def fail(): raise ValueError('in the middle')
launch, r._job.launch = r._job.launch, fail
try: r.run()
except ValueError: pass
r._job.launch = launch
r.run(); r.close()""",
    'an error while loading, caught': """
from sim2real_policy.errors import EngineError
from sim2real_policy import tensorrt_runner
def fail(*a): raise EngineError('in the middle')
tensorrt_runner._Job.warm_up = fail
for _ in range(3):
    try: TensorRTRunner(bundle, plan)
    except EngineError as error: kept = error""",
    'made, used and closed in a thread': THREADED + """
in_thread(lambda: (make(), kept[0].close()))""",
    'made in a thread, never closed': THREADED + 'in_thread(make)',
    'made in a thread, closed in another': THREADED + """
in_thread(make); in_thread(kept[0].close)""",
    'made in a thread, closed in the main thread': THREADED + """
in_thread(make); kept[0].run(); kept[0].close()""",
    'made in a thread, dropped in another': THREADED + """
in_thread(make); in_thread(kept.clear)""",
    'the control thread ends on an error': THREADED + """
threading.excepthook = lambda arguments: None
def work():
    make()
    raise RuntimeError('in the thread')
in_thread(work)""",
    'a daemon thread ticks on while the process ends': THREADED + """
import time
ticks = []
def forever():
    make()
    while True:
        kept[0].run(); ticks.append(1)
threading.Thread(target=forever, daemon=True).start()
while len(ticks) < 100: time.sleep(0.01)""",
    'a tick in a pool of threads': THREADED + """
from concurrent.futures import ThreadPoolExecutor
make()
with ThreadPoolExecutor(4) as pool:
    for _ in range(50): pool.submit(kept[0].run).result()
kept[0].close()""",
    'PyTorch and CuPy beside it': THREADED + """
try:
    import torch; torch.ones(3, device='cuda').sum().item()
except ImportError: pass
in_thread(make)
try:
    import cupy; float(cupy.ones(3).sum())
except ImportError: pass
kept[0].run()""",
}


@pytest.mark.parametrize('case', CASES)
def test_the_process_ends_cleanly(in_new_process: Run, case: str) -> None:
    result = in_new_process(CASES[case])
    assert result.returncode == 0, result.stderr
    assert not [word for word in COMPLAINTS if word in result.stderr], result.stderr


def test_an_uncaught_error_ends_the_process_with_1(in_new_process: Run) -> None:
    result = in_new_process('r = TensorRTRunner(bundle, plan); r.run()\n'
                            "raise OSError('on purpose')")
    assert result.returncode == 1
    assert 'OSError: on purpose' in result.stderr
    assert not [word for word in COMPLAINTS if word in result.stderr], result.stderr


def test_a_context_left_pushed_does_abort(in_new_process: Run) -> None:
    """If this fails, the tests above prove nothing."""
    result = in_new_process('TensorRTRunner(bundle, plan)._device.push()')
    assert result.returncode == ABORTED
    assert 'The context stack was not empty' in result.stderr
