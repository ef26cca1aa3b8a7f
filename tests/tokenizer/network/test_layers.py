"""Pictures that go through in bands of rows: as in one, and with the memory of what goes in and comes out."""

import pytest
import torch

from videogpt_tokenizer.network import layers
from videogpt_tokenizer.network.layers import ResidualBlock
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture(scope="module", params=["natural", "wide", "local", "patch"])
def tokenizer(request, make_tokenizer) -> VideoTokenizer:
    if request.param == "natural":
        return VideoTokenizer.from_pretrained("natural")
    return make_tokenizer(widths=(16, 32), encoder_context=request.param, remembers=True)


def there_and_back(tokenizer: VideoTokenizer, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    codes = tokenizer.encode(video)
    return codes, tokenizer.decode(codes)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 9, 72, 40), (2, 5, 40, 136)])
@pytest.mark.parametrize("places", [1, 70, 200, 300])
def test_bands_equal_the_whole(tokenizer, shape, places, monkeypatch):
    """Codes to the last, pixels but for the order in which libraries add up."""
    batch, frames, height, width = shape
    video = torch.rand(batch, 3, frames, height, width) * 2 - 1
    codes, pixels = there_and_back(tokenizer, video)
    monkeypatch.setattr(layers, "PLACES_AT_ONCE", places)
    codes_in_bands, pixels_in_bands = there_and_back(tokenizer, video)
    assert torch.equal(codes_in_bands, codes)
    torch.testing.assert_close(pixels_in_bands, pixels, atol=1e-5, rtol=0)


def test_pieces_in_bands_equal_the_whole_to_the_bit(tokenizer, monkeypatch):
    monkeypatch.setattr(layers, "PLACES_AT_ONCE", 70)
    video = torch.rand(1, 3, 17, 64, 40) * 2 - 1
    codes, pixels = there_and_back(tokenizer, video)
    for plan in ([1] * 17, [3, 14], [9, 8]):
        stream = tokenizer.stream()
        found = torch.cat([stream.encode(piece) for piece in video.split(plan, dim=2)], dim=1)
        assert torch.equal(found, codes)
    for plan in ([1] * 5, [2, 3]):
        stream = tokenizer.stream()
        found = torch.cat([stream.decode(piece) for piece in codes.split(plan, dim=1)], dim=2)
        assert torch.equal(found, pixels)


def test_a_batch_that_becomes_smaller_goes_on_without_bands(tokenizer, monkeypatch):
    """And a stream that began without gradients' bookkeeping at all goes on outside of it."""
    video = torch.rand(3, 3, 13, 32, 32) * 2 - 1
    whole = tokenizer.encode(video)
    monkeypatch.setattr(layers, "PLACES_AT_ONCE", 130)
    stream = tokenizer.stream()
    with torch.inference_mode():
        found = [stream.encode(video[:, :, :5])]
    stream.keep(2)
    found.append(stream.encode(video[:2, :, 5:9]))
    stream.keep(1)
    found.append(stream.encode(video[:1, :, 9:]))
    for part, expected in zip(found, (whole[:, :2], whole[:2, 2:3], whole[:1, 3:]), strict=True):
        assert torch.equal(part, expected)


def test_training_knows_no_bands(make_tokenizer, monkeypatch):
    tokenizer, video = make_tokenizer(remembers=True), torch.rand(1, 3, 5, 32, 32) * 2 - 1
    results = []
    for places in (layers.PLACES_AT_ONCE, 1):
        monkeypatch.setattr(layers, "PLACES_AT_ONCE", places)
        tokenizer.zero_grad()
        tokenizer(video).video_BCTHW.square().sum().backward()
        results.append([parameter.grad for parameter in tokenizer.parameters() if parameter.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_a_block_of_several_frames_in_bands_equals_the_whole(monkeypatch):
    """As in a forward pass without gradients, which takes all latent frames at once."""
    block = ResidualBlock(16)
    torch.nn.init.normal_(block.temporal.mix.weight, std=0.1)
    first, second = torch.randn(2, 2, 3, 20, 6, 16)
    with torch.no_grad():
        expected, state = block(first, None)
        expected_next, state_next = block(second, state)
        monkeypatch.setattr(layers, "PLACES_AT_ONCE", 100)
        found, own = block(first, None)
        found_next, own_next = block(second, own)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_next, expected_next)
    torch.testing.assert_close(own_next, state_next)
    assert own_next.data_ptr() == own.data_ptr()  # written over the one before


def test_the_state_after_one_frame_holds_it_once(monkeypatch):
    monkeypatch.setattr(layers, "PLACES_AT_ONCE", 10)
    block = ResidualBlock(16)
    with torch.no_grad():
        _, state = block(torch.randn(1, 1, 8, 8, 16), None)
    assert state.shape == (1, 2, 8, 8, 16) and state.untyped_storage().nbytes() == 8 * 8 * 16 * 4
