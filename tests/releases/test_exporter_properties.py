"""Any values and masks: what the formats say about the first error and about single steps holds together."""

from hypothesis import given
from hypothesis import strategies as st

from annotator.releases.exporters import ExportOptions, ReleaseRecord
from annotator.releases.exporters.record import gold_value
from tests.releases.test_exporters import Neutral, exported, make_record, make_step, rows_of


def make_long_record(judged: list[tuple[int | None, bool]]) -> ReleaseRecord:
    record = make_record(1, 1, 1)
    record["messages"] = [{"role": "user", "content": "Go."}]
    record["messages"] += [{"role": "assistant", "content": f"step {index}"} for index in range(len(judged))]
    record["steps"] = [make_step(i, i + 1, value, counts=counts) for i, (value, counts) in enumerate(judged)]
    return record


records = st.lists(st.tuples(st.sampled_from([1, 0, -1, None]), st.booleans()), min_size=1, max_size=8).map(
    make_long_record
)


def possible_first_errors(values: list[int | None]) -> set[int]:
    """The slow way: fill every masked step with right and wrong in turn, and look at each complete trajectory."""
    filled: list[list[int]] = [[]]
    for value in values:
        filled = [[*start, end] for start in filled for end in ([1, -1] if value is None else [value])]
    return {complete.index(-1) if -1 in complete else -1 for complete in filled}


@given(records)
def test_processbench_label_is_the_only_possible_first_error(record: ReleaseRecord) -> None:
    possible = possible_first_errors([gold_value(step) for step in record["steps"]])
    labels = [row["label"] for row in rows_of("processbench", record)]
    assert labels == (list(possible) if len(possible) == 1 else [])


@given(records, st.sampled_from(["positive", "negative", "drop"]))
def test_every_step_is_a_trl_row_or_is_counted_as_left_out(record: ReleaseRecord, neutral: Neutral) -> None:
    _, result = exported("trl_stepwise", record, options=ExportOptions(neutral=neutral))
    assert result.n_rows + sum(result.left_out.values()) == len(record["steps"])


@given(records)
def test_ternary_formats_agree_on_every_step(record: ReleaseRecord) -> None:
    values = [gold_value(step) for step in record["steps"]]
    (benchmark,), (prm800k,) = rows_of("agentprocessbench", record), rows_of("prm800k", record)
    assert [benchmark["step_labels"].get(str(step["message_index"])) for step in record["steps"]] == values
    assert [step["completions"][0]["rating"] for step in prm800k["label"]["steps"]] == values
