"""The small tables that pilots, plans and fits print."""

from __future__ import annotations

import json

import pytest

from mlsbi._table import Table

TABLE = Table(
    "a title",
    ({"level": 0, "n": 123456, "x": 1.23456}, {"level": 1, "n": 7, "y": "ok"}),
    ("a note",),
)


def test_it_reads_well():
    assert str(TABLE).splitlines() == [
        "a title",
        "level        n     x  y",
        "------------------------",
        "    0  123,456  1.23  -",
        "    1        7     -  ok",
        "a note",
    ]


def test_it_is_a_sequence_of_rows():
    assert len(TABLE) == 2
    assert TABLE[1]["y"] == "ok"
    assert [row["level"] for row in TABLE] == [0, 1]
    assert TABLE.columns == ("level", "n", "x", "y")
    assert TABLE.column("x") == [1.23456, None]
    with pytest.raises(KeyError, match="no column 'z'"):
        TABLE.column("z")


def test_it_survives_json():
    again = Table.from_dict(json.loads(json.dumps(TABLE.to_dict())))
    assert again == TABLE
    assert str(again) == str(TABLE)
