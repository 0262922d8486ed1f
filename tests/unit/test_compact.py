"""The query in one line: what it means, what it refuses and where, and that it can be written again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesearch.compact import MAX_WEIGHT, CompactTerm, format_query, parse_query
from imagesearch.errors import InvalidInput


def text(value: str, weight: float = 1) -> CompactTerm:
    return CompactTerm("text", value, weight)


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("horse", [text("horse")]),
        (" two  brown\thorses ", [text("two brown horses")]),
        ("horse +stripes -grass", [text("horse"), text("stripes"), text("grass", -1)]),
        ('horse +"white mane" -"green grass"', [text("horse"), text("white mane"), text("green grass", -1)]),
        (
            'horse +"stripes" -grass -0.5*"green grass" id:dog.jpg',
            [
                text("horse"),
                text("stripes"),
                text("grass", -1),
                text("green grass", -0.5),
                CompactTerm("id", "dog.jpg"),
            ],
        ),
        ("-green grass", [text("green", -1), text("grass")]),
        ("2*horse .5*mane +1e-1*x", [text("horse", 2), text("mane", 0.5), text("x", 0.1)]),
        ('id:"two dogs.jpg" -id:a/b.jpg', [CompactTerm("id", "two dogs.jpg"), CompactTerm("id", "a/b.jpg", -1)]),
        (
            "dog -0.3*image_url:https://example.com/a.jpg?x=1&y=2",
            [text("dog"), CompactTerm("image_url", "https://example.com/a.jpg?x=1&y=2", -0.3)],
        ),
        (r'"say \"cheese\" \\ smile"', [text(r'say "cheese" \ smile')]),
        ("rock'n'roll 16:9 black-and-white 5\" a+b note:x", [text("rock'n'roll 16:9 black-and-white 5\" a+b note:x")]),
        ("ブルー -緑", [text("ブルー"), text("緑", -1)]),
        ("two*three", [text("two*three")]),
    ],
)
def test_a_query_in_one_line_is_understood(query: str, terms: list[CompactTerm]) -> None:
    assert parse_query(query) == terms


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "the query is empty"),
        (" \n", "the query is empty"),
        ("horse -", "at character 7, there is nothing after -"),
        ("rock - roll", "at character 6, there is nothing after -"),
        ("horse -0.5*", "at character 7, there is nothing after -0.5*"),
        ("horse id:", "at character 7, there is nothing after id:"),
        ('horse -"green', "at character 8, this quote is never closed"),
        ('horse "green"grass', "at character 14, there must be a blank after the closing quote"),
        ('horse ""', "at character 7, there is nothing between the quotes"),
        ('horse -" "', "at character 8, there is nothing between the quotes"),
        ("horse 0*grass", "at character 7, a weight must be more than 0 and at most 10, not 0"),
        ("horse -0.0*grass", "at character 8, a weight must be more than 0"),
        ("horse 11*grass", "at character 7, a weight must be more than 0 and at most 10, not 11"),
        ("horse 1e999*grass", "at character 7, a weight must be more than 0 and at most 10, not 1e999"),
        ("1000000000*horse", "at character 1, a weight must be"),
    ],
)
def test_what_can_not_be_understood_is_refused_with_its_place(query: str, message: str) -> None:
    with pytest.raises(InvalidInput, match="query") as caught:
        parse_query(query)
    assert message in str(caught.value)
    assert caught.value.field == "query"


@pytest.mark.parametrize(
    ("terms", "query"),
    [
        ([text("horse"), text("stripes"), text("grass", -1)], "horse +stripes -grass"),
        ([text("two dogs"), text("cat", -0.5)], '"two dogs" -0.5*cat'),
        ([text("grass", -1), text("horse", 2)], "-grass 2*horse"),
        ([text("horse"), CompactTerm("id", "a b.jpg"), CompactTerm("id", "c.jpg", -1)], 'horse id:"a b.jpg" -id:c.jpg'),
        ([text("+1"), text("2*x"), text("id:y"), text('"')], r'"+1" "2*x" "id:y" "\""'),
    ],
)
def test_terms_are_written_in_one_line(terms: list[CompactTerm], query: str) -> None:
    assert format_query(terms) == query


VALUE = st.text(min_size=1).filter(lambda value: value.strip()) | st.sampled_from(
    ["a", "a b", "-", "+", '"', "\\", '\\"', "id:", "id:x", "2*", "2*x", "-x", "image_url:", "*", ".5*", "1e5*z"]
)
WEIGHT = st.floats(0, MAX_WEIGHT, exclude_min=True) | st.sampled_from([1.0, 2.0, 0.5, 5e-324])
TERM = st.builds(
    CompactTerm,
    st.sampled_from(["text", "id", "image_url"]),
    VALUE,
    st.tuples(WEIGHT, st.sampled_from([1, -1])).map(math.prod),
)


@given(st.lists(TERM, min_size=1))
def test_what_is_written_is_read_again_as_it_was(terms: list[CompactTerm]) -> None:
    assert parse_query(format_query(terms)) == terms


@given(st.text() | st.text(alphabet='ab"\\ +-*0123456789.:ide', max_size=30))
def test_anything_is_understood_or_refused(query: str) -> None:
    try:
        terms = parse_query(query)
    except InvalidInput:
        return
    assert terms
    assert all(term.value.strip() and 0 < abs(term.weight) <= MAX_WEIGHT for term in terms)
    assert parse_query(format_query(terms)) == terms
