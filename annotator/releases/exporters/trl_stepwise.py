"""TRL stepwise supervision: one row per step, `{"prompt": text, "completions": [text], "labels": [bool]}`.

Decisions:
- `prompt` is everything before the step, what tools and user said since the last one included, and ends in a line
  break because TRL puts nothing between prompt and completion;
- the format is binary. What a neutral step becomes is `ExportOptions.neutral`; -1 is false, +1 true;
- masked steps and steps without text are no rows. They stay part of the later steps' prompts;
- the columns `external_id`, `step_index` and `message_index` lead back to the trajectory; PRMTrainer ignores them.
"""

from collections.abc import Iterator

from annotator.releases.exporters.record import (
    NEUTRAL_DROPPED,
    NO_TEXT,
    Exporter,
    ExportOptions,
    LeftOut,
    ReleaseRecord,
    Row,
    gold_value,
    mask_of,
)
from annotator.releases.exporters.render import prompts


def export(record: ReleaseRecord, options: ExportOptions) -> Iterator[Row | LeftOut]:
    for step, prompt, text in prompts(record):
        value = gold_value(step)
        if value is None:
            yield mask_of(step)
        elif not text.strip():
            yield LeftOut(NO_TEXT)
        elif value == 0 and options.neutral == "drop":
            yield LeftOut(NEUTRAL_DROPPED)
        else:
            yield {
                "prompt": prompt,
                "completions": [text],
                "labels": [value == 1 or (value == 0 and options.neutral == "positive")],
                "external_id": record["external_id"],
                "step_index": step["index"],
                "message_index": step["message_index"],
            }


TRL_STEPWISE = Exporter(
    "trl_stepwise", "jsonl", "TRL stepwise supervision: one row per step for PRMTrainer, right or wrong.", export
)
