"""One line that shows that a builder is alive, and the log behind it."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import threading
import time
from typing import TextIO

_PERIOD = 0.2  # s
_NARROWEST = 20
_TIME_STAMP = re.compile(r'^\[[\d/:-]+\]\s*(\[[A-Z]\]\s*)?(\[TRT\]\s*)?')


class Progress:
    """
    Collects the lines of a builder and shows the newest, with the seconds that have passed.

    On a terminal it is one line that moves; elsewhere only beginning and end are told. ``lines``
    has all that was said, ``seconds`` the time from beginning to end.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        """
        Prepare; entering the context begins.

        :param what: what is being done.
        :param stream: where to show it; by default the standard error.
        """
        self.lines: list[str] = []
        self.seconds = 0.0
        self._what, self._stream = what, stream or sys.stderr
        self._started = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._turn, name='progress', daemon=True)

    def __enter__(self) -> Progress:
        """Begin to show."""
        self._started = time.monotonic()
        if self._stream.isatty():
            self._thread.start()
        else:
            self._stream.write(f'{self._what} ...\n')
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and say how long it took."""
        self.seconds = time.monotonic() - self._started
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            self._stream.write('\r\x1b[K')
        self._stream.write(f'{self._what}: {self.seconds:.1f} s\n')
        self._stream.flush()

    def add(self, line: str) -> None:
        """
        Take a line of the builder; harmless from any thread.

        :param line: without its end.
        """
        self.lines.append(line)

    def _turn(self) -> None:
        for sign in itertools.cycle('|/-\\'):
            seconds = time.monotonic() - self._started
            newest = _TIME_STAMP.sub('', self.lines[-1]) if self.lines else ''
            width = max(_NARROWEST, shutil.get_terminal_size().columns - 1)
            shown = f'{sign} {self._what}: {seconds:.0f} s  {newest}'.expandtabs(1)[:width]
            self._stream.write(f'\r{shown}\x1b[K')
            self._stream.flush()
            if self._ended.wait(_PERIOD):
                return
