"""The short form of ``python -m tests.fuzz``: every parser of outside bytes, by seeded mutations and by design."""

from __future__ import annotations

import random
import time

import pytest

from handlers.intake.documents import DocumentRefused, parse
from tests.fuzz.targets import TARGETS, hostile_documents, mutated

MUTATIONS = 150

SOON_S = 10.0
"""Seconds of processor time: what is refused last, a million values, takes three."""

READ = {
    "10 MB of one string",
    "10 MB of escapes",
    "keys said a thousand times",
    "lone surrogates",
    "null bytes",
    "numbers that overflow times",
}
"""Strange, but honest documents; all others are refused."""


@pytest.mark.parametrize(
    "name", [*(name for name in TARGETS if name != "s3"), pytest.param("s3", marks=pytest.mark.slow)]
)
def test_a_parser_reads_or_refuses_in_its_own_words(name: str) -> None:
    chance, target = random.Random(name), TARGETS[name]
    for data in target.seeds:
        target.try_with(data)
    for _ in range(MUTATIONS):
        target.try_with(mutated(chance.choice(target.seeds), chance.random))


@pytest.mark.parametrize("name", hostile_documents())
def test_a_hostile_document_is_read_or_refused_soon_in_few_words(name: str) -> None:
    data = hostile_documents()[name]
    began = time.process_time()
    if name in READ:
        assert isinstance(parse(data).fields, dict)
    else:
        with pytest.raises(DocumentRefused) as refusal:
            parse(data)
        assert len(refusal.value.reason) < 120
    assert time.process_time() - began < SOON_S
