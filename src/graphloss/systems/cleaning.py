"""Texts as TextGCN reads them: lower-case words and punctuation; where texts are long, without stop and rare words."""

import re
from collections import Counter

RAREST = 5  # times that a word must stand in all texts
SHORT = 30  # words of a mean text below which every word counts

# An ending after an apostrophe is a word of its own, and so is each mark of punctuation.
WORD = re.compile(r"n't|'(?:s|ve|re|d|ll)|[(),!?]|(?:(?!n't|'(?:s|ve|re|d|ll))[a-z0-9'`])+")


def split_words(text: str) -> list[str]:
    """All words of a text."""
    return WORD.findall(text.lower())


def clean(texts: list[str]) -> list[list[str]]:
    """The words of each text that count.

    Stop words are those of scikit-learn. As published, short texts (there: MR) lose no word.

    Source: Yao, Mao & Luo (2019), after Kim (2014).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [split_words(text) for text in texts]
    if sum(map(len, words)) < SHORT * len(words):
        return words
    counts = Counter(word for each in words for word in each)
    kept = {word for word, count in counts.items() if count >= RAREST} - ENGLISH_STOP_WORDS
    return [[word for word in each if word in kept] for each in words]
