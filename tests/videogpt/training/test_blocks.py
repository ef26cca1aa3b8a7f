"""Blocks that are compiled or checkpointed learn what plain ones learn, under the same names."""

import copy

import pytest
import torch
from torch import Tensor

from videogpt import VideoGPTConfig
from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.task import Example, find_task
from videogpt.model.likelihood import row_nats
from videogpt.model.network import VideoGPT
from videogpt.training.blocks import BlocksConfig, prepare_blocks

SIZES = {"text_vocab_size": 9, "codebook_size": 16, "max_text_tokens": 16, "latent_frames": 2}
TASK = find_task("text_to_video")(LayoutConfig(**SIZES, latent_height=3, latent_width=3))
CONFIG = VideoGPTConfig(vocab_size=TASK.vocabulary.size, width=32, depth=2, heads=2, kv_heads=1, dropout=0.1)
CHECKPOINTED = BlocksConfig(checkpointed=True)


def loss_and_gradients(network: VideoGPT, words: int = 3) -> tuple[Tensor, list[Tensor]]:
    """Of one batch, with the same dropout at every call."""
    torch.manual_seed(0)
    codes_THW = torch.randint(16, (2, 3, 3))
    loss = row_nats(network, TASK.pack([Example([1] * words, codes_THW)] * 2), TASK.vocabulary).mean()
    return loss.detach(), list(torch.autograd.grad(loss, list(network.parameters())))


def prepared(config: BlocksConfig, network: VideoGPT) -> VideoGPT:
    other = copy.deepcopy(network)
    prepare_blocks(other, config)
    return other


def test_checkpointed_blocks_give_the_same_loss_and_gradients_to_the_bit():
    network = VideoGPT(CONFIG)
    found = prepared(CHECKPOINTED, network)
    assert list(found.state_dict()) == list(network.state_dict())
    loss, gradients = loss_and_gradients(found)
    expected_loss, expected = loss_and_gradients(network)
    assert torch.equal(loss, expected_loss) and all(map(torch.equal, gradients, expected))


def kept_bytes(network: VideoGPT) -> int:
    """What autograd keeps for the backward pass, weights aside."""
    weights, kept = {x.untyped_storage().data_ptr() for x in network.parameters()}, dict[int, int]()

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in weights:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        logits = network(TASK.pack([Example([1], torch.zeros(2, 3, 3, dtype=torch.long))]))
    assert logits.requires_grad
    return sum(kept.values())


def test_checkpointed_blocks_keep_less():
    network = VideoGPT(CONFIG)
    assert kept_bytes(prepared(CHECKPOINTED, network)) < 0.5 * kept_bytes(network)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_blocks_give_the_same_up_to_rounding_for_captions_of_any_length(checkpointed):
    pytest.importorskip("torch._inductor")
    network = VideoGPT(CONFIG).eval()  # dropout draws other numbers when compiled
    found = prepared(BlocksConfig(compiled=True, checkpointed=checkpointed), network)
    assert list(found.state_dict()) == list(network.state_dict())
    for words in (3, 12):
        torch.testing.assert_close(loss_and_gradients(found, words), loss_and_gradients(network, words))


def test_without_a_compiler_compiled_blocks_are_refused(monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def nothing() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", nothing)
    with pytest.raises(ValueError, match="model.blocks.compiled is true, and there is no C.. compiler here: install"):
        prepare_blocks(VideoGPT(CONFIG), BlocksConfig(compiled=True))
    prepare_blocks(VideoGPT(CONFIG), CHECKPOINTED)
