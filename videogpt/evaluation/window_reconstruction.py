"""Clips through a tokenizer that sees them as a whole, and back: in windows of the length that it is made for.

    clip, num_codes = reconstruct_windows(clip, tokenizer)

Each window is a clip by itself, so a seam can show between two, and the codes are those of the windows, not of the
whole. That is how these tokenizers are used where they come from, and memory does not grow with the length, but with
the size of the pictures. Sides are padded to the stride by repeating the edge, and the last window to the next number
of frames that fits by holding the last frame; both are cut back.
"""

import torch

from videogpt_tokenizer.any_size import pad_sides
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.imported.whole_clips import WholeClipTokenizer

# B batch (1), C colours, T frames, H/W height and width


def reconstruct_windows(clip: Clip, tokenizer: WholeClipTokenizer) -> tuple[Clip, int]:
    """A clip of any size through the tokenizer and back, with the number of codes it took."""
    device = next(tokenizer.parameters()).device
    pieces, num_codes = [], 0
    for frames_T in torch.arange(len(clip)).split(tokenizer.clip_frames):
        num_frames = tokenizer.num_frames(tokenizer.latent_frames(len(frames_T)))
        held_T = frames_T[torch.arange(num_frames).clamp(max=len(frames_T) - 1)]
        video_CTHW = Clip(clip.frames_THWC[held_T], clip.fps).video_CTHW().to(device)
        codes_BTHW = tokenizer.encode(pad_sides(video_CTHW[None], tokenizer.space_stride))
        video_BCTHW = tokenizer.decode(codes_BTHW)[:, :, : len(frames_T), : clip.height, : clip.width]
        pieces.append(Clip.from_video(video_BCTHW[0], clip.fps).frames_THWC)
        num_codes += codes_BTHW.numel()
    return Clip(torch.cat(pieces), clip.fps), num_codes
