"""Model files: what is refused, and with which sentence."""

from pathlib import Path

import pytest

from annotator.prelabelling.configs import ConfigError, canonical_sha256, parse, read_file, read_folder

MODELS = Path(__file__).resolve().parents[2] / "workers/prelabel/models"
TEXT = (MODELS / "qwen2.5-math-prm-7b.yaml").read_text(encoding="utf-8")


def test_every_ready_file_is_named_like_its_model():
    models = read_folder(MODELS)
    assert len(models) == 21
    assert set(models) == {path.stem for path in MODELS.glob("*.yaml")}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kind: discriminative", "kind: oracle", r"^m\.yaml: kind: "),
        ("name: qwen2.5-math-prm-7b", "name: Has Spaces", r"^m\.yaml: name: "),
        ("marker: ", "makrer: ", r"^m\.yaml: render\.makrer: Extra inputs are not permitted"),
        ("model_type: qwen2", "model_type: gpt2", r"^m\.yaml: backbone\.model_type: "),
        ("[negative, non_negative]", "[negative, positive]", r"map: .*map\.outputs: with softmax they must be"),
        ("activation: softmax", "activation: sigmoid", r"map\.outputs: with sigmoid they must be non_negative"),
        ("mode: chat", "mode: plain\n  header: Hello", r"render\.header must hold \{question\} once"),
        ("mode: chat", "mode: chat\n  step: '{step}'", r"render\.step must hold \{context\} once"),
        ("mode: chat", "mode: chat\n  join: '<extra_0>'", r"render\.join holds the marker"),
        ("mode: chat", "mode: chat\n  replace: {a: aa}", r"render\.replace: 'a' would come back"),
        ("  marker: ", "  # ", r"render\.marker is missing, but read\.at"),
        ("{at: marker}", "{at: step_end}", r"step_end needs render\.tokenise: segments and no marker"),
        ("{at: marker}", "{at: marker, offset: 1}", r"read\.offset: "),
        ("max_tokens: 4096", "max_tokens: 3", r"limits\.max_tokens: "),
        ("head:", "head: [", r"^m\.yaml is not valid YAML: "),
    ],
)
def test_a_wrong_file_names_the_field(old, new, told):
    assert old in TEXT
    with pytest.raises(ConfigError, match=told):
        parse(TEXT.replace(old, new), "m.yaml")


def test_turns_need_a_marker_that_is_read():
    turns = (MODELS / "rlhflow-llama3.1-8b-prm-mistral.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"render\.marker is missing: in turns"):
        parse(turns.replace('marker: "+"', "marker: null"), "m.yaml")
    with pytest.raises(ConfigError, match=r"head\.tokens and map\.outputs must have the same length"):
        parse(turns.replace('["+", "-"]', '["+", "-", "o"]'), "m.yaml")


def test_yaml_can_make_nothing_but_data():
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse("!!python/object/apply:os.getcwd []", "m.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"The model file none\.yaml cannot be read"):
        read_file(tmp_path / "none.yaml")


def test_two_files_of_one_name_are_an_error(tmp_path):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"b\.yaml: another file of the folder already describes a model named qwen"):
        read_folder(tmp_path)


def test_the_hash_of_a_config_ignores_how_it_is_written():
    one = parse(TEXT, "m.yaml")
    same = parse(f"# another comment\n{TEXT}dtype: auto\n", "m.yaml")
    other = parse(TEXT.replace("4096", "2048"), "m.yaml")
    assert canonical_sha256(one) == canonical_sha256(same) != canonical_sha256(other)
