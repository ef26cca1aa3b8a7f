"""Video tokenizers of other projects, each a `Tokenizer` as `VideoTokenizer` is.

    tokenizer = load_video_tokenizer("ucf101_stride4x4x4.ckpt")     # from videogpt_tokenizer: decides by what it is
    codes_BTHW = tokenizer.encode(video_BCTHW)                      # float in [-1, 1]

`vqvae` is the network of VideoGPT (Yan et al., 2021), `vqvae_checkpoint` reads its Lightning checkpoints without
unpickling, `torchscript` wraps pairs of `encoder.jit` and `decoder.jit`. None of them streams: they see a clip as a
whole (`whole_clips`).
"""
