"""Close-ups: a document that anybody may have written is read strictly or not at all."""

import copy
import json

import pytest
from close_up_record import RECORD

from sandbox.close_up import MOST_BYTES, CloseUp, CloseUpRefused, json_schema


def test_a_document_reads_back_as_the_record_it_was():
    assert CloseUp.from_document(json.loads(json.dumps(RECORD.document()))) == RECORD


def at(document, path):
    for step in path[:-1]:
        document = document[step]
    return document, path[-1]


W = ("windows", 0)
HOSTILE = {
    "another schema": (("schema",), 2),
    "no digest": (("candidate",), "<script>"),
    "no window": (("windows",), []),
    "a name of markup": ((*W, "name"), "<b>w01</b>"),
    "a word that is none": ((*W, "why"), "because"),
    "text for a number": ((*W, "requests"), "3"),
    "a flag for a number": ((*W, "requests"), True),
    "not a number": ((*W, "start_s"), float("nan")),
    "without end": ((*W, "stop_s"), float("inf")),
    "too large": ((*W, "stop_s"), 1e300),
    "backwards": ((*W, "stop_s"), 1.0),
    "a quantile short": ((*W, "active", "e2e_s"), [1.0] * 32),
    "quantiles in disorder": ((*W, "active", "ttft_s"), [float(k) for k in range(33, 0, -1)]),
    "more than all": ((*W, "active", "instance_share"), [0.5, 1.5]),
    "another count of instances": ((*W, "active", "instance_share"), [1.0]),
    "series of two lengths": ((*W, "candidate", "series", "running"), [1.0]),
    "nothing for a request": ((*W, "losses"), [None]),
    "a field that there is not": ((*W, "text"), "said"),
    "a count below zero": ((*W, "losses", 0, "active", "waiting"), [0, -1]),
    "nothing for a record": ((*W, "candidate"), None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_close_up_says_is_refused(name):
    path, value = HOSTILE[name]
    document = copy.deepcopy(RECORD.document())
    place, last = at(document, path)
    place[last] = value
    with pytest.raises(CloseUpRefused, match="look closely again"):
        CloseUp.from_document(document)


@pytest.mark.parametrize("path", [("schema",), (*W, "bin_s"), (*W, "losses", 0, "row")])
def test_a_part_that_is_missing_is_refused(path):
    document = copy.deepcopy(RECORD.document())
    place, last = at(document, path)
    del place[last]
    with pytest.raises(CloseUpRefused):
        CloseUp.from_document(document)


def test_what_is_too_large_or_too_deep_is_refused_unread():
    with pytest.raises(CloseUpRefused, match="larger"):
        CloseUp.from_document({"x": "y" * MOST_BYTES})
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CloseUpRefused):
        CloseUp.from_document({"windows": deep})
    with pytest.raises(CloseUpRefused):
        CloseUp.from_document({1: 2, "a": object()})


def test_the_schema_names_every_part():
    named = json.dumps(json_schema())
    assert all(f'"{part}"' in named for part in ("losses", "kv_use", "fuel_per_decision"))
