"""Test accuracies in % from other people's papers, to stand beside ours; never made by this code."""

DATA = ("mr", "r8", "r52", "ohsumed", "20ng")

# Sharma, Agarwal & Kumar (2025), who quote the first four from Yao et al. (2019), Liu et al. (2020), Lin et al. (2021).
_ROWS = {
    "TextGCN": (76.74, 97.07, 93.56, 68.36, 86.34),
    "TensorGCN": (77.91, 98.04, 95.05, 70.11, 87.74),
    "BertGCN": (86.00, 98.10, 96.60, 72.80, 89.30),
    "RoBERTaGCN": (89.70, 98.20, 96.10, 72.80, 89.50),
    "BERT-base, cross-entropy": (85.64, 97.57, 96.29, 71.09, 83.98),
    "BERT-base, SCL + cross-entropy": (85.97, 97.88, 96.18, 71.28, 84.39),
    "BERT-base, G-Loss-SQRT + cross-entropy": (86.17, 97.67, 96.06, 70.55, 84.01),
    "BERT-base, G-Loss-O + cross-entropy": (86.63, 97.91, 96.37, 71.25, 84.71),
    "RoBERTa-large, cross-entropy": (89.92, 97.75, 95.91, 75.03, 84.89),
    "RoBERTa-large, G-Loss-O + cross-entropy": (90.87, 97.49, 96.44, 75.35, 85.19),
    "DistilBERT, cross-entropy": (84.85, 97.48, 95.78, 69.50, 83.15),
    "DistilBERT, G-Loss-O + cross-entropy": (85.10, 97.71, 96.07, 70.16, 83.64),
}
PUBLISHED = {name: dict(zip(DATA, row, strict=True)) for name, row in _ROWS.items()}
