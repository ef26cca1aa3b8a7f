"""Nats of every row against a softmax by hand, padded and not."""

import pytest
import torch

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.likelihood import row_nats
from videogpt.model.network import VideoGPT

TASK = TextToVideo(LayoutConfig(text_vocab_size=9, codebook_size=5, latent_frames=2, latent_height=1, latent_width=3))


@pytest.mark.parametrize("without_padding", [False, True])
@torch.no_grad()
def test_each_row_is_asked_among_the_ids_of_its_own_modality(without_padding: bool) -> None:
    network = VideoGPT(VideoGPTConfig(vocab_size=TASK.vocabulary.size, width=16, depth=1, heads=2, kv_heads=1)).eval()
    examples = [Example(text, torch.randint(5, (2, 1, 3))) for text in ([1, 2, 3], [], [4])]
    sequence = TASK.pack(examples, without_padding=without_padding)
    nats_BN = row_nats(network, sequence, TASK.vocabulary)
    logits_BNV = network(sequence)
    for modality, ids in TASK.vocabulary.ids.items():
        rows = sequence.rows_of(modality)
        log_p = logits_BNV[:, rows][..., ids.start : ids.stop].log_softmax(dim=-1)
        weighs = sequence.loss_weight_BN[:, rows] > 0
        targets = (sequence.targets_BN[:, rows] - ids.start)[weighs]
        expected = -log_p[weighs].gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(nats_BN[:, rows][weighs], expected)
