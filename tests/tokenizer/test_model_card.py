"""The model card: true of the tokenizer, read by the Hub, and never over one of somebody's own."""

import pytest
import yaml

from videogpt_tokenizer.files.hub import CARD_NAME


def test_a_card_is_written_and_one_of_ones_own_stays(make_tokenizer, tmp_path):
    tokenizer = make_tokenizer(levels=(8, 5, 5))
    tokenizer.save_pretrained(tmp_path)
    card = (tmp_path / CARD_NAME).read_text(encoding="utf-8")
    assert card == tokenizer.model_card()
    assert "| compression | 4 x 8 x 8: `1 + 4k` frames become `1 + k` latent frames, 8 x 8 pixels one code |" in card
    assert "| vocabulary | 200 codes (fsq, levels 8, 5, 5) |" in card
    assert f"| size | {sum(p.numel() for p in tokenizer.parameters()):,} parameters |" in card
    (tmp_path / CARD_NAME).write_text("mine")
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / CARD_NAME).read_text() == "mine"


def test_the_hub_can_read_the_card(make_tokenizer):
    front = yaml.safe_load(make_tokenizer().model_card("owner/name", "mit").split("---\n")[1])
    assert front["license"] == "mit" and front["library_name"] == "videogpt-lm" and "video-tokenizer" in front["tags"]
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    text = make_tokenizer(quantizer={"kind": "lfq"}).model_card("owner/name")
    card = hub.ModelCard(text, ignore_metadata_errors=False)
    assert card.data.license == "unknown" and card.data.tags == front["tags"]
    assert 'from_pretrained("owner/name")' in card.text and "1,024 codes (lfq)" in card.text
