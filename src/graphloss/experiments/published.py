"""Figures from other people's papers, to stand beside ours; never made by this code."""

from typing import NamedTuple


class Published(NamedTuple):
    """A table of a paper.

    Attributes:
        figures: what a cell holds.
        data: the data sets, in order.
        rows: by method, a cell for each data set.
    """

    figures: str
    data: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]


TOPICS = ("mr", "r8", "r52", "20ng", "ohsumed")

INTEGRATED = """
BERT-base CE | 85.64 ± 0.81 / 85.64 | 97.57 ± 0.16 / 93.90 | 96.29 ± 0.15 / 84.42 | 83.98 ± 0.12 / 83.49 | 71.09 ± 0.31 / 63.40
BERT-base SCL + CE | 85.97 ± 0.50 / 85.95 | 97.88 ± 0.17 / 93.96 | 96.18 ± 0.14 / 83.75 | 84.39 ± 0.10 / 83.99 | 71.28 ± 0.17 / 63.64
BERT-base G-Loss-SQRT + CE | 86.17 ± 0.35 / 86.17 | 97.67 ± 0.19 / 94.34 | 96.06 ± 0.18 / 83.78 | 84.01 ± 0.56 / 83.52 | 70.55 ± 0.18 / 62.49
BERT-base G-Loss-O + CE | 86.63 ± 0.12 / 86.61 | 97.91 ± 0.20 / 94.53 | 96.37 ± 0.40 / 84.55 | 84.71 ± 0.24 / 84.17 | 71.25 ± 0.59 / 63.80
RoBERTa-large CE | 89.92 ± 1.07 / 89.92 | 97.75 ± 0.20 / 93.46 | 95.91 ± 0.56 / 83.71 | 84.89 ± 0.36 / 84.28 | 75.03 ± 0.24 / 67.95
RoBERTa-large SCL + CE | 90.21 ± 0.91 / 90.20 | 97.24 ± 0.19 / 93.11 | 95.95 ± 0.45 / 82.33 | 85.31 ± 0.26 / 84.90 | 73.67 ± 0.33 / 65.55
RoBERTa-large G-Loss-SQRT + CE | 90.53 ± 0.51 / 90.53 | 97.26 ± 0.12 / 93.02 | 96.14 ± 0.47 / 84.31 | 85.06 ± 0.28 / 84.61 | 74.82 ± 0.52 / 66.55
RoBERTa-large G-Loss-O + CE | 90.87 ± 0.62 / 90.87 | 97.49 ± 0.05 / 93.04 | 96.44 ± 0.63 / 84.34 | 85.19 ± 0.31 / 84.23 | 75.35 ± 0.42 / 68.58
DistilBERT CE | 84.85 ± 0.23 / 84.85 | 97.48 ± 0.11 / 93.02 | 95.78 ± 0.04 / 83.64 | 83.15 ± 0.61 / 82.69 | 69.50 ± 0.34 / 61.06
DistilBERT SCL + CE | 84.16 ± 0.46 / 84.16 | 97.65 ± 0.25 / 93.79 | 96.17 ± 0.10 / 83.82 | 83.49 ± 0.20 / 83.18 | 70.02 ± 0.35 / 60.56
DistilBERT G-Loss-SQRT + CE | 85.14 ± 0.33 / 85.14 | 97.46 ± 0.17 / 93.62 | 96.13 ± 0.34 / 83.93 | 83.61 ± 0.23 / 83.16 | 69.93 ± 0.38 / 61.39
DistilBERT G-Loss-O + CE | 85.10 ± 0.45 / 85.10 | 97.71 ± 0.12 / 93.61 | 96.07 ± 0.04 / 84.44 | 83.64 ± 0.28 / 83.23 | 70.16 ± 0.21 / 62.41
"""

STANDALONE = """
SCL | 86.18 / 86.18 / .5725 / 35 | 97.80 / 93.54 / .4869 / 38 | 95.11 / 79.72 / .4561 / 34 | 84.45 / 83.66 / .5507 / 200 | 68.54 / 57.97 / .1373 / 39
Triplet | 86.30 / 86.29 / .5331 / 29 | 97.30 / 93.35 / .6581 / 30 | 95.08 / 77.78 / .4662 / 189 | 84.23 / 83.80 / .4538 / 171 | 68.68 / 58.34 / .1222 / 105
Cos-sim | 86.08 / 86.08 / .4479 / 20 | 97.74 / 93.97 / .7383 / 200 | 95.21 / 79.57 / .3972 / 64 | 84.11 / 83.67 / .5524 / 200 | 69.33 / 59.58 / .1393 / 200
G-Loss-O | 86.22 / 86.22 / .5507 / 25 | 97.83 / 93.95 / .7870 / 23 | 95.79 / 79.92 / .4824 / 39 | 84.94 / 84.26 / .5849 / 180 | 70.25 / 61.43 / .1468 / 41
"""

SYSTEMS = """
TextGCN | 76.74 | 97.07 | 93.56 | 86.34 | 68.36
TensorGCN | 77.91 | 98.04 | 95.05 | 87.74 | 70.11
BertGCN | 86.00 | 98.10 | 96.60 | 89.30 | 72.80
RoBERTaGCN | 89.70 | 98.20 | 96.10 | 89.50 | 72.80
BERT-base G-Loss, best single run | 87.14 | 98.04 | 96.48 | 85.13 | 71.48
RoBERTa-large G-Loss, best single run | 90.82 | 98.18 | 96.65 | 85.33 | 75.76
"""

GLUE = """
CE | 91.20 | 89.08
SCL + CE | 92.10 | 90.06
G-Loss-O + CE | 93.32 | 89.62
"""


def _rows(text: str) -> dict[str, tuple[str, ...]]:
    lines = (line.split(" | ") for line in text.strip().splitlines())
    return {name: tuple(cells) for name, *cells in lines}


# Sharma, Agarwal & Kumar (2025), who quote TextGCN from Yao et al. (2019), TensorGCN from Liu et al. (2020), BertGCN and
# RoBERTaGCN from Lin et al. (2021). Means of three seeds.
PUBLISHED = {
    "integrated": Published("accuracy ± deviation / macro-F1", TOPICS, _rows(INTEGRATED)),
    "standalone": Published("BERT-base, accuracy / macro-F1 / macro-silhouette / epochs", TOPICS, _rows(STANDALONE)),
    "systems": Published("accuracy", TOPICS, _rows(SYSTEMS)),
    "glue": Published("BERT-base, accuracy", ("sst2", "qnli"), _rows(GLUE)),
}
