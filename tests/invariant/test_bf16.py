"""In bf16 the graph stays in the band of float32 autograd around float64, a whole run in that of plain bf16."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from graphloss import GLoss, GLossConfig, GraphLossTrainer, TrainingConfig
from graphloss.data.documents import Documents
from graphloss.data.tokens import encode
from graphloss.graph.masking import split_batch
from graphloss.models.encoder import load_encoder
from graphloss.models.parts import Budget
from tests.conftest import WORDS, sentences

CLASSES, STEPS, RATE, WEIGHT = 3, 20, 1e-3, 0.3
WIDTH, TELEPORT = 0.6, 1e-4


def error(values: Tensor, truth: Tensor) -> float:
    return float((values.double() - truth).norm() / truth.norm())


@pytest.mark.parametrize("scale", [1.0, 0.05], ids=["spread", "clusters"])
def test_the_graph_of_bf16_embeddings_is_as_exact_as_float32_autograd(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % CLASSES
    centres = torch.randn(CLASSES, 32, generator=generator)
    embeddings = (centres[labels] + scale * torch.randn(64, 32, generator=generator)).bfloat16()
    loss = GLoss(CLASSES, bandwidth=WIDTH, teleport=TELEPORT)

    def ours(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        loss.step = 0
        leaf = embeddings.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss(leaf, labels)
        value.backward()
        return value.detach(), leaf.grad

    def plain(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        leaf = embeddings.to(dtype).requires_grad_()
        value = row_loss(leaf, labels, *split_batch(labels, 0.7, "stratified", generator_of(loss))[0])
        value.backward()
        return value.detach(), leaf.grad

    value, gradient = plain(torch.float64)
    torch.testing.assert_close(ours(torch.float64)[0], value)
    band = [error(found, truth) for found, truth in zip(plain(torch.float32), (value, gradient), strict=True)]
    given = ours(torch.bfloat16)
    assert given[0].dtype == torch.float32
    assert error(given[0], value) <= 4 * band[0] + 1e-7
    rounding = error(gradient.bfloat16(), gradient)  # the gradient of a bf16 leaf is bf16
    assert error(given[1], gradient) <= 4 * band[1] + 1.01 * rounding


def generator_of(loss: GLoss) -> torch.Generator:
    loss.step = 0
    return loss._generator()


def row_loss(embeddings: Tensor, labels: Tensor, labelled: Tensor, masked: Tensor) -> Tensor:
    """The default loss by autograd alone, in the type of the embeddings."""
    points = nn.functional.normalize(embeddings)
    logits = -(points[:, None] - points).square().sum(-1) / (2 * WIDTH**2)
    rows = logits.masked_fill(torch.eye(len(points), dtype=torch.bool), -torch.inf).softmax(dim=1)[masked]
    targets = nn.functional.one_hot(labels[labelled], CLASSES).to(rows)
    reach = (1 - TELEPORT) * rows[:, labelled] @ targets + TELEPORT * targets.mean(0)
    system = torch.eye(len(masked)).to(rows) - (1 - TELEPORT) * rows[:, masked]
    return nn.functional.nll_loss(torch.linalg.solve(system, reach).log(), labels[masked])


@pytest.mark.parametrize("micro_batch_size", [16, 5])
def test_a_bf16_run_stays_in_the_band_of_plain_bf16_autograd(
    micro_batch_size: int, encoders: dict[str, Path], tmp_path: Path
) -> None:
    """Losses along twenty steps, around those of a float64 run.

    How bf16 rounds depends on the shapes of its products and on the processor, and the last steps amplify it: one plain
    run is a single draw of the band, those of the batch in several numbers of parts span it.
    """
    truth = plain_run(encoders["bert"], torch.float64)
    plain = (plain_run(encoders["bert"], torch.bfloat16, parts) for parts in (1, 2, 4, 8, 16))
    band = max(float((losses - truth).abs().max()) for losses in plain)
    single = float((plain_run(encoders["bert"], torch.float32) - truth).abs().max())
    ours = float((trainer_run(encoders["bert"], tmp_path, "bf16", micro_batch_size) - truth).abs().max())
    ours_single = float((trainer_run(encoders["bert"], tmp_path, "float32", micro_batch_size) - truth).abs().max())
    assert 1e-5 < band < 0.1
    assert ours <= 2 * band
    assert ours_single <= 4 * single + 1e-6


def build(folder: Path) -> nn.Module:
    config = AutoConfig.from_pretrained(folder)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.num_labels = CLASSES
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder, config=config)


def one_batch(folder: Path) -> tuple:
    encoder = load_encoder(str(folder))
    texts, labels = sentences(16)
    return encoder, encode(Documents(texts), encoder.tokenizer, 32, [sorted(WORDS).index(name) for name in labels])


def plain_run(folder: Path, dtype: torch.dtype, parts: int = 1) -> Tensor:
    """The same batch twenty times, whole or in parts, by autograd alone; in bf16 under autocast."""
    encoder, tokens = one_batch(folder)
    model = build(folder).train().to(torch.float64 if dtype == torch.float64 else torch.float32)
    columns = tokens.to_dict()
    labels = torch.tensor(columns.pop("labels"))
    batches = [
        encoder.tokenizer.pad({name: [rows[i] for i in part] for name, rows in columns.items()}, return_tensors="pt")
        for part in torch.arange(len(labels)).chunk(parts)
    ]
    loss = GLossConfig().build(CLASSES, seed=42)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            outputs = [model(**batch, output_hidden_states=True) for batch in batches]
        loss.step = step
        graph = loss(torch.cat([output.hidden_states[-1][:, 0] for output in outputs]), labels)
        logits = torch.cat([output.logits for output in outputs])
        logits = logits if dtype == torch.float64 else logits.float()
        total = torch.lerp(nn.functional.cross_entropy(logits, labels), graph, WEIGHT)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total.detach().double())
    return torch.stack(losses)


def trainer_run(folder: Path, output: Path, precision: str, micro_batch_size: int) -> Tensor:
    encoder, tokens = one_batch(folder)
    args = TrainingConfig(
        output_dir=str(output),
        use_cpu=True,
        per_device_train_batch_size=16,
        micro_batch_size=str(micro_batch_size),
        precision=precision,
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        logging_steps=1,
        save_strategy="no",
        eval_strategy="no",
        train_sampling_strategy="sequential",
    )
    trainer = GraphLossTrainer(
        build(folder), args, gloss=GLossConfig(graph_weight=WEIGHT), pooling="first",
        processing_class=encoder.tokenizer, train_dataset=tokens,
    )  # fmt: skip
    trainer.budget = Budget(tokens=40, overhead=0)
    trainer.train()
    found = [entry["loss"] for entry in trainer.state.log_history if "ce_loss" in entry]
    return torch.tensor(found, dtype=torch.float64)
