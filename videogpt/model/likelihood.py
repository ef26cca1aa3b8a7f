"""How unlikely the network finds a sequence: the one definition for training, bits, coding and preferences.

    nats_BN = row_nats(network, sequence, task.vocabulary)
    bits = nats_BN[:, sequence.rows_of("video")].sum() / math.log(2)

Each modality has a softmax over its own ids: a row of the video is never asked about words.
"""

import torch
from torch import Tensor

from videogpt.layouts.sequence import TrainingSequence
from videogpt.layouts.vocabulary import Vocabulary
from videogpt.model.network import VideoGPT

# B sequences, N rows, M rows of one modality, D width


def row_nats(network: VideoGPT, sequence: TrainingSequence, vocabulary: Vocabulary) -> Tensor:
    """Cross-entropy in nats of every row, (B, N) float32; rows that predict nothing hold a number of no meaning."""
    hidden_BND = network.hidden(sequence)
    nats_BN = torch.zeros(sequence.targets_BN.shape, dtype=torch.float32, device=hidden_BND.device)
    for modality, ids in vocabulary.ids.items():
        rows = sequence.rows_of(modality)
        targets_BM = (sequence.targets_BN[:, rows] - ids.start).clamp(min=0)  # PAD is no id of any modality
        nats_BN[:, rows] = network.nats(hidden_BND[:, rows], targets_BM, ids)
    return nats_BN
