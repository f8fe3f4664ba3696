"""Rule: every refusal is one class with one sentence, and a misspelt name gets a hint."""

from __future__ import annotations

import pytest
from sim2real_policy import errors
from sim2real_policy.errors import closest, MissingDependencyError, PolicyError

CAUSES = [cause for cause in vars(errors).values()
          if isinstance(cause, type) and issubclass(cause, Exception)]


def test_there_is_one_base_class_and_every_cause_says_when_it_is_raised() -> None:
    assert len(CAUSES) >= 9
    for cause in CAUSES:
        assert issubclass(cause, PolicyError)
        assert cause is PolicyError or 'Raised when' in (cause.__doc__ or '')


def test_missing_library_says_what_it_is_for_and_how_to_get_it() -> None:
    error = MissingDependencyError('torch', 'to read a checkpoint', 'pip install torch')
    assert str(error) == ('torch is not installed; it is needed to read a checkpoint. '
                          'Install it with: pip install torch')
    with pytest.raises(ImportError):
        raise error


@pytest.mark.parametrize(('word', 'hint'), [
    ('scal', " (did you mean 'scale'?)"),
    ('clipp', " (did you mean 'clip'?)"),
    ('zebra', ''),
    ('', '')])
def test_closest_name_is_hinted_at_only_where_one_is_close(word: str, hint: str) -> None:
    assert closest(word, ('clip', 'scale')) == hint
    assert closest(word, iter(['scale', 'clip'])) == hint
    assert closest(word, ()) == ''
