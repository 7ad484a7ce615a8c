"""The graph across processes in a loop of your own: `torchrun --nproc_per_node 2 examples/many_processes.py`."""

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from graphloss import GLoss
from graphloss.training.distributed import ProcessGroup

distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
ranks = ProcessGroup.of_this_run()
index, count = (ranks.index, ranks.count) if ranks else (0, 1)

torch.manual_seed(0)
encoder = DistributedDataParallel(nn.Linear(32, 16))  # yours goes here
optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
graph_loss = GLoss(num_labels=4, ranks=ranks)

labels = torch.arange(64) % 4
texts = nn.functional.one_hot(labels, 32).float() + 0.5 * torch.randn(64, 32)  # embedded words, say
own = slice(index * 64 // count, (index + 1) * 64 // count)  # each process has other documents

for step in range(30):
    embeddings, given = encoder(texts[own]), labels[own]
    if ranks:
        counts = ranks.counts(given)
        embeddings, given = ranks.gather_with_gradient(embeddings, counts), ranks.gather(given, counts)
    loss = graph_loss(embeddings, given)  # over all 64, the same in every process
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if index == 0 and step % 10 == 9:
        print(f"step {step + 1}  graph loss {loss.item():.4f}")
distributed.destroy_process_group()
