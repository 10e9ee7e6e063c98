"""Loading: exactly the expected weights, only from a local folder, and a hash of what was loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.workers.prelabel import checkpoints
from tests.workers.prelabel.agents import model_file
from workers.prelabel.discriminative import checkpoint, load
from workers.prelabel.discriminative.errors import ModelError

PRM = model_file("qwen2.5-math-prm-7b")
ACTPRM = model_file("actprm")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prm")
    checkpoints.save("qwen2.5-math-prm-7b", folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def settings(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_missing_and_unexpected_weights_are_named(folder):
    def change(weights):
        weights["score.3.weight"] = weights.pop("score.2.weight")
        del weights["model.layers.1.mlp.up_proj.weight"]

    rewrite(folder, change)
    with pytest.raises(ModelError) as error:
        load(PRM, folder, "cpu")
    assert str(error.value) == (
        "The weights in copy do not fit the model file. missing: model.layers.1.mlp.up_proj.weight, score.2.weight; "
        "unexpected: score.3.weight."
    )


def test_a_long_list_of_wrong_weights_is_cut(folder):
    rewrite(folder, lambda weights: [weights.pop(key) for key in list(weights) if "layers.0" in key])
    with pytest.raises(ModelError, match=r"missing: model\.layers\.0\..* and \d+ more\.$"):
        load(PRM, folder, "cpu")


def test_a_weight_of_another_shape_is_named(folder):
    rewrite(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(7)}))
    with pytest.raises(ModelError, match=r"of another shape: model\.norm\.weight \(7,\) instead of \(32,\)"):
        load(PRM, folder, "cpu")


def test_a_head_with_another_number_of_outputs_is_refused(folder):
    rewrite(
        folder, lambda weights: weights.update({"score.2.weight": torch.ones(3, 32), "score.2.bias": torch.ones(3)})
    )
    with pytest.raises(ModelError, match=r"last layer score\.2 has the shape \(3, 32\), .* the 2 numbers"):
        load(PRM, folder, "cpu")


def test_weights_that_the_model_file_names_as_unused_may_be_there(folder):
    rewrite(folder, lambda weights: weights.update({"lm_head.weight": torch.ones(2, 32)}))
    assert load(PRM, folder, "cpu").provenance.dtype == "float32"


def test_a_bias_that_config_json_decides_on(tmp_path):
    checkpoints.save("reasoneval-34b", tmp_path)
    config = model_file("reasoneval-34b")
    settings(tmp_path, bias=False)
    with pytest.raises(ModelError, match=r"unexpected: score_head\.bias"):
        load(config, tmp_path, "cpu")
    settings(tmp_path, bias="perhaps")
    with pytest.raises(ModelError, match=r"config\.json has no bias that is true or false"):
        load(config, tmp_path, "cpu")


def test_another_architecture_is_refused(folder):
    settings(folder, model_type="mixtral")
    with pytest.raises(ModelError, match=r"config\.json says model_type mixtral; the model file says qwen2"):
        load(PRM, folder, "cpu")


def test_code_that_came_with_the_weights_is_never_run(folder):
    (folder / "modeling.py").write_text("raise SystemExit('ran')")
    settings(folder, auto_map={"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"})
    assert load(PRM, folder, "cpu").provenance.dtype == "float32"


def test_a_folder_that_is_not_there_says_that_nothing_is_fetched(tmp_path):
    said = (
        r"no folder some-prm with .* to checkpoints/some-prm in the MODELS_FOLDER of this machine.* Nothing is fetched"
    )
    with pytest.raises(ModelError, match=said):
        load(PRM, tmp_path / "Qwen" / "some-prm", "cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load(PRM, folder, "cpu")


def test_a_file_that_was_cut_off_is_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors is no complete safetensors file .* copy it again"):
        load(PRM, folder, "cpu")


def test_weights_in_several_files_are_one_model(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(sorted(weights))}
    for name in set(names.values()):
        save_file({key: weights[key] for key in weights if names[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "stray.safetensors").write_text("not part of the model")
    assert load(PRM, folder, "cpu").provenance.batch_invariant
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model-00002-of-00002\.safetensors"):
        load(PRM, folder, "cpu")


def test_the_hash_follows_the_content_and_not_the_folder(saved, folder):
    before = checkpoint.open_checkpoint(saved).weights_sha256()
    assert checkpoint.open_checkpoint(folder).weights_sha256() == before
    rewrite(folder, lambda weights: weights["score.2.bias"].add_(1e-3))
    changed = checkpoint.open_checkpoint(folder).weights_sha256()
    settings(folder, rope_theta=5000.0)
    assert len({before, changed, checkpoint.open_checkpoint(folder).weights_sha256()}) == 3


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    first = checkpoint.file_sha256(path)
    assert first == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    opened = []
    monkeypatch.setattr(Path, "open", lambda self, mode: opened.append(self))
    assert checkpoint.file_sha256(path) == first
    assert opened == []
    monkeypatch.undo()
    path.write_bytes(b"abcd")
    assert checkpoint.file_sha256(path) != first


def test_the_number_of_parameters_is_known_before_anything_is_read(saved):
    model, _ = checkpoints.BUILDERS["qwen2.5-math-prm-7b"]()
    assert checkpoint.open_checkpoint(saved).n_parameters == sum(p.numel() for p in model.parameters())


def test_weights_in_half_precision_become_what_the_model_file_says(folder):
    half = load(model_file("qwen2.5-math-prm-7b").model_copy(update={"dtype": "bfloat16"}), folder, "cpu")
    assert half.provenance.dtype == "bfloat16"
    assert not half.provenance.batch_invariant
    assert next(half.backbone.parameters()).dtype == torch.bfloat16
    assert half.head.layers[0].weight.dtype == torch.float32


def test_config_and_weights_and_render_are_hashed_apart(saved):
    provenance = load(PRM, saved, "cpu").provenance
    hashes = {provenance.config_sha256, provenance.weights_sha256, provenance.render_sha256}
    assert len(hashes) == 3
    assert all(len(value) == 64 for value in hashes)


def test_without_a_gpu_a_large_model_is_refused_with_what_to_do(saved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = model_file("qwen2.5-math-prm-7b", limits={"cpu_parameters": 1000})
    with pytest.raises(
        ModelError, match=r"no CUDA device.* start a worker on a machine with a GPU, or raise limits\.cpu"
    ):
        load(config, saved)
    assert load(config, saved, "cpu").backbone.device.type == "cpu"  # asked for by name
    assert load(PRM, saved).backbone.device.type == "cpu"  # small enough


@pytest.mark.parametrize(("device", "told"), [("cuda:7", "no device cuda:7"), ("gpu", "The device gpu is none of")])
def test_a_device_that_is_not_there_is_refused(saved, monkeypatch, device, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=told):
        load(PRM, saved, device)
