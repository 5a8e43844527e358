"""Properties of identities: what is the same thing gets the same id, and nothing else does (rule 2)."""

import string
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids
from schemas.errors import Unprocessable

keys = st.binary(min_size=16, max_size=32)
words = st.text(min_size=1, max_size=40).filter(lambda text: "\n" not in text)
features = st.dictionaries(
    st.text(string.ascii_letters, min_size=1, max_size=8),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=10,
)
moments = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(words, words, words, words)
def test_an_event_id_depends_on_object_and_content_only(one: str, two: str, hash_one: str, hash_two: str) -> None:
    """Rule 2: another object or another content is another event."""
    same = ids.event_id(one, hash_one) == ids.event_id(two, hash_two)
    assert same == ((one, hash_one) == (two, hash_two))


@given(keys, words, words, words)
def test_a_pseudonym_needs_the_key_and_never_shows_the_identifier(key: bytes, issuer: str, one: str, two: str) -> None:
    """CC28: without the key nobody can recompute a subject; the same id from two issuers is two subjects."""
    subject = ids.subject_id(key, issuer, one)
    assert subject == ids.subject_id(key, issuer, one)
    assert subject != ids.subject_id(key + b"x", issuer, one)
    assert (subject == ids.subject_id(key, issuer, two)) == (one == two)
    assert subject != ids.subject_id(key, issuer + "x", one)
    assert len(one) < 4 or one not in subject or set(one) <= set(string.hexdigits)


@given(features)
def test_content_ignores_order_and_missing_values(values: dict[str, float | None]) -> None:
    """Rule 2: the same measurements are the same content, however a sender writes them."""
    backwards = dict(reversed(list(values.items())))
    without = {name: value for name, value in values.items() if value is not None}
    assert ids.features_content(values) == ids.features_content(backwards) == ids.features_content(without)


@given(features, st.text(string.ascii_letters, min_size=1, max_size=8), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_another_value_is_another_content(values: dict[str, float | None], name: str, one: float, two: float) -> None:
    """Rule 4: a corrected value is a new revision, so its content must differ."""
    same = ids.features_content(values | {name: one}) == ids.features_content(values | {name: two})
    assert same == (repr(one) == repr(two))


@given(words, moments, st.integers(-14, 14))
def test_a_reading_is_the_same_whatever_zone_it_is_written_in(subject: str, moment: datetime, hours: int) -> None:
    """Rule 2: uploaders disagree on zones, not on the instant."""
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert ids.reading_object_id(subject, moment) == ids.reading_object_id(subject, elsewhere)


def test_a_time_without_a_zone_is_refused() -> None:
    """CC11: guessing a zone would reorder a patient's day."""
    with pytest.raises(Unprocessable, match="carries no zone"):
        ids.reading_object_id("sub-1", datetime(2026, 1, 1))  # noqa: DTZ001


@given(st.uuids(), words, words, words)
def test_an_answer_id_separates_versions_and_preprocessing(event: UUID, task: str, one: str, two: str) -> None:
    """Rule 4: another version or another preprocessing is another answer."""
    base = ids.answer_id(event, task, one, two)
    assert base == ids.answer_id(event, task, one, two)
    assert base != ids.answer_id(event, task, one + "1", two)
    assert base != ids.answer_id(event, task, one, two + "1")
