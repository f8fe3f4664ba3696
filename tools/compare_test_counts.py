"""
Check that two test reports (JUnit XML) ran the same number of tests, and not zero.

``colcon test`` succeeds as well when it runs no test at all.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree


def count(path: str) -> int:
    """
    Add up the tests of one report.

    :param path: JUnit XML, as written by pytest or colcon.
    :returns: number of tests, those that were skipped included.
    :raises ValueError: when it is not such a report.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f'{path} is not a test report: {error}') from error
    return sum(int(suite.get('tests', 0)) for suite in root.iter('testsuite'))


def main(arguments: list[str]) -> int:
    """
    Compare the two reports and say the outcome in one sentence.

    :param arguments: the paths of two reports.
    :returns: exit code; 0 when the counts are the same and not zero, else 2.
    """
    if len(arguments) != 2:
        print('usage: compare_test_counts.py REPORT.xml REPORT.xml', file=sys.stderr)
        return 2
    try:
        first, second = (count(path) for path in arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if first != second or first == 0:
        print(f'{arguments[0]} has {first} tests and {arguments[1]} has {second}; expected the '
              'same number and not zero', file=sys.stderr)
        return 2
    print(f'both reports have {first} tests')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
