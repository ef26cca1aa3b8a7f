"""Two processes learn one codebook from the clips of both, and keep the same averages of the adversary."""

from collections.abc import Callable

ONE_OF_TWO = """
import os
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer
from videogpt_tokenizer.training.adversarial import AdversarialConfig, Adversary

configs = [QuantizerConfig(kind=kind, codebook_size=16, codebook_dim=4, stages=2) for kind in ("vq", "simvq", "rvq")]
torch.manual_seed(int(os.environ["RANK"]))
quantizers = [make_quantizer(config).train() for config in configs]  # before the processes meet, as under Lightning
distributed.init_process_group("gloo")
rank = distributed.get_rank()
for quantizer in quantizers:
    learned = any(parameter.requires_grad for parameter in quantizer.parameters())
    trained = DistributedDataParallel(quantizer) if learned else quantizer
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1) if learned else None
    for _ in range(4):
        latents = torch.randn(2, 2, 8, 8, 4) + rank
        loss = trained(latents).loss
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    mine = quantizer.tables()
    both = [torch.empty_like(mine) for _ in range(2)]
    distributed.all_gather(both, mine)
    assert torch.equal(*both), type(quantizer)
adversary = Adversary(AdversarialConfig(start_step=0, width=8, depth=2))
video, target = torch.randn(2, 1, 3, 3, 16, 16) + rank
adversary.frames.discriminator_loss(video, target, lecam=0.1)
mine = torch.stack([adversary.frames.real_average, adversary.frames.fake_average])
both = [torch.empty_like(mine) for _ in range(2)]
distributed.all_gather(both, mine)
assert torch.equal(*both) and mine.ne(0).all(), "averages of LeCam"
distributed.barrier()
os._exit(0)  # gloo's own threads may outlive its process group, and abort a Python that ends in order
"""


def test_two_processes_stay_in_step(in_two_processes: Callable[..., None]):
    in_two_processes(ONE_OF_TWO)
