"""Video tokenizers of other projects, each a `Tokenizer` as `VideoTokenizer` is; `any_tokenizer` loads them."""
