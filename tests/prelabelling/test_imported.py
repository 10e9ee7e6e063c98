import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from annotator.importing.schema import FieldError
from annotator.prelabelling.imported import latest, read_judgements, scores_of

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "agentprocessbench"
JUDGES = sorted((DATA / "judges").glob("*/*.jsonl"))


def row(**changes):
    return {
        "record_id": "bfcl:0:1",
        "data_source": "bfcl",
        "query_index": 0,
        "sample_index": 1,
        "step_labels": {"2": 1, "4": 0, "7": -1},
        "final_label": -1,
        "status": "done",
        "comment": "",
        "updated_at": "2026-02-04T14:00:00+00:00",
        "explanations": {"steps": {"2": "Right tool.", "7": "Wrong sum."}, "final": "Failed."},
        **changes,
    }


def read(*rows):
    return list(read_judgements(io.BytesIO("\n".join(map(json.dumps, rows)).encode())))


def read_latest(*rows):
    return latest(iter(read(*rows)))


def test_a_row_becomes_scores_by_step():
    (judgement,) = read(row())
    assert (judgement.external_id, judgement.sample, judgement.final) == ("bfcl:0:1", ("bfcl", 0, 1), -1)
    scores = scores_of(judgement, [2, 4, 7])
    assert scores.probs.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert scores.rationales == ["Right tool.", None, "Wrong sum."]
    assert (scores.note, scores.raw, scores.n_tokens) == ("", None, 0)


def test_a_step_without_a_label_is_an_abstention_and_never_a_0():
    (judgement,) = read(row(step_labels={"2": 1, "4": None}, explanations=None))
    scores = scores_of(judgement, [2, 4, 7])
    assert scores.abstained.tolist() == [False, True, True]
    assert scores.note == "2 of 3 steps have no label."


def test_of_a_failed_row_nothing_counts_not_even_the_final_label_it_holds():
    comment = "llm_annotate_failed: ValueError: LLM output is not JSON"
    (judgement,) = read(row(comment=comment, final_label=0))
    assert judgement.final is None
    scores = scores_of(judgement, [2, 4, 7])
    assert np.isnan(scores.probs).all()
    assert scores.rationales == [None, None, None]
    assert scores.note == "The judge failed: ValueError: LLM output is not JSON"


def test_a_skipped_row_is_an_abstention():
    (judgement,) = read(row(status="skipped"))
    assert scores_of(judgement, [2, 4, 7]).note == "The row has the status skipped."


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("2026-02-04T14:00:00+00:00", "2026-02-04T15:00:00+00:00", 2),
        ("2026-02-04T15:00:00+00:00", "2026-02-04T14:00:00+00:00", 1),
        ("2026-02-04T14:00:00+00:00", "2026-02-04T14:00:00Z", 2),  # a tie: the later line
        ("2026-02-04T14:30:00+00:00", "2026-02-04T15:00:00+01:00", 1),  # 14:00 in UTC
        ("2026-02-04T14:00:00", "2026-02-04T13:59:59+00:00", 1),  # without a zone: UTC
        (None, "2026-02-04T14:00:00+00:00", 2),
        ("2026-02-04T14:00:00+00:00", None, 1),
    ],
)
def test_the_latest_row_of_a_record_counts(first, second, kept):
    judgements, bad = read_latest(row(updated_at=first), row(updated_at=second))
    assert ([judgement.line for judgement in judgements], bad) == ([kept], [])


def test_a_later_failure_takes_an_earlier_answer_back():
    failed = row(comment="llm_annotate_failed: timed out", updated_at="2026-02-05T00:00:00+00:00")
    ((judgement,), _) = read_latest(row(), failed)
    assert judgement.failure == "The judge failed: timed out"


def test_a_record_without_an_id_is_known_by_its_query_and_sample():
    nameless = row(record_id=None, updated_at="2026-02-05T00:00:00+00:00")
    ((judgement,), _) = read_latest(row(), nameless)
    assert (judgement.line, judgement.external_id, judgement.sample) == (2, "", ("bfcl", 0, 1))


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"step_labels": {"2": 2}}, "step_labels.2", "must be -1, 0, 1 or null."),
        ({"step_labels": {"2": "1"}}, "step_labels.2", "must be -1, 0, 1 or null."),
        ({"step_labels": {"2": True}}, "step_labels.2", "must be -1, 0, 1 or null."),
        ({"step_labels": {"two": 1}}, "step_labels.two", "the key must be the index of a message"),
        ({"step_labels": [1]}, "step_labels", "must be an object"),
        ({"final_label": 3}, "final_label", "must be -1, 0, 1 or null."),
        ({"updated_at": "yesterday"}, "updated_at", "must be a time"),
        ({"comment": 5}, "comment", "must be a string."),
        ({"sample_index": -1}, "sample_index", "must be an integer from 0."),
        ({"explanations": {"steps": {"2": 5}}}, "explanations.steps.2", "must be a string or null."),
        ({"explanations": {"steps": {"9" * 5000: ""}}}, "explanations.steps." + "9" * 80, "the key must be the index"),
        ({"record_id": "", "query_index": None}, "record_id", "is missing"),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error_with_its_place(changes, field, reason):
    good, bad = read_latest(row(record_id="other:0:0"), row(**changes))
    assert [judgement.external_id for judgement in good] == ["other:0:0"]
    assert [(error.line, error.field) for error in bad] == [(2, field)]
    assert bad[0].reason.startswith(reason)


def test_a_row_without_labels_and_a_line_that_is_no_json_are_errors_too():
    nothing = row()
    del nothing["step_labels"]
    file = io.BytesIO(json.dumps(nothing).encode() + b'\n{"broken\n[1]\n')
    assert [str(error) for error in read_judgements(file)] == [
        "line 1, step_labels: is missing.",
        "line 2: is not valid JSON: Unterminated string starting at at character 2.",
        "line 3: must be an object with step_labels.",
    ]


def test_a_label_for_a_message_that_is_no_step_is_refused():
    (judgement,) = read(row())
    with pytest.raises(FieldError) as refusal:
        scores_of(judgement, [2, 4])
    assert str(refusal.value) == "step_labels.7: message 7 is no step of this trajectory."


def test_an_explanation_of_a_message_that_is_no_step_is_refused():
    (judgement,) = read(row(explanations={"steps": {"3": "?"}}))
    with pytest.raises(FieldError, match=r"^explanations.steps.3: message 3 is no step"):
        scores_of(judgement, [2, 4, 7])


@pytest.mark.skipif(not JUDGES, reason="the judges' files are not there")
def test_the_real_judges_are_read_to_the_last_label():
    steps = {}
    for name in ("gold_hotpotqa.jsonl", "gold_bfcl.jsonl"):
        for line in (DATA / name).read_text().splitlines():
            gold = json.loads(line)
            steps[gold["record_id"]] = [int(index) for index in gold["step_labels"]]
    assert len(JUDGES) == 40
    total = Counter()
    for path in JUDGES:
        expected, failures = Counter(), 0
        raw = [json.loads(line) for line in path.read_text().splitlines()]
        for entry in raw:
            if entry["comment"][:19] == "llm_annotate_failed":
                failures += 1
            else:
                expected.update(value for value in entry["step_labels"].values() if value is not None)
        with path.open("rb") as file:
            judgements, bad = latest(read_judgements(file))
        assert bad == []
        assert len(judgements) == len({entry["record_id"] for entry in raw}) == 250
        assert sum(bool(judgement.failure) for judgement in judgements) == failures
        found = Counter()
        for judgement in judgements:
            scores = scores_of(judgement, steps[judgement.external_id])
            assert scores.abstained.sum() == len(scores.rationales) - len(judgement.values)
            for column, value in enumerate((-1, 0, 1)):
                found[value] += int(np.nansum(scores.probs[:, column]))
        assert found == expected
        total.update(found)
        total["failed"] += failures
    assert total == {1: 49097, 0: 9352, -1: 7311, "failed": 74}
