"""Similarity, selection of the largest scores, aggregation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stcn.model.matching import (
    aggregate,
    aggregate_logits,
    dense_affinity,
    dense_readout,
    largest,
    similarity,
    topk_weights,
)


def test_similarity_is_the_negative_distance_up_to_a_term_of_the_query():
    memory, query = torch.randn(2, 5, 7), torch.randn(2, 5, 3)
    distance = torch.cdist(memory.transpose(1, 2), query.transpose(1, 2)).pow(2)
    query_term = query.pow(2).sum(1, keepdim=True)
    wanted = (query_term - distance) / math.sqrt(5)
    torch.testing.assert_close(similarity(memory, query), wanted, rtol=1e-4, atol=1e-4)


def test_training_read_is_a_softmax_over_the_memory():
    memory, query, value = torch.randn(1, 4, 6), torch.randn(1, 4, 2), torch.randn(1, 3, 6)
    affinity = dense_affinity(memory, query)
    torch.testing.assert_close(affinity.sum(1), torch.ones(1, 2))
    weight = similarity(memory, query).exp()
    wanted = value @ (weight / weight.sum(1, keepdim=True))
    torch.testing.assert_close(dense_readout(affinity, value), wanted)


def test_more_votes_than_memory_means_all():
    scores = torch.randn(3, 5)
    weights, index = topk_weights(scores, 20)
    assert weights.shape == index.shape == (3, 5)
    full = torch.zeros(3, 5).scatter(1, index, weights)
    torch.testing.assert_close(full, scores.softmax(1))


def test_scores_too_large_for_an_exponential():
    weights, _ = topk_weights(torch.tensor([[1e30, 1e30, -1e30]]), 2)
    torch.testing.assert_close(weights, torch.full((1, 2), 0.5))


@settings(max_examples=60, deadline=None)
@given(
    num_columns=st.integers(1, 900),
    count=st.integers(1, 3),
    few_values=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_largest_is_exact(num_columns, count, few_values, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, num_columns, generator=generator)
    if few_values:  # many equal scores
        scores = scores.round()
    count = min(count, num_columns)
    values, columns = largest(scores, count)
    wanted = scores.sort(1, descending=True).values[:, :count]
    assert torch.equal(values.sort(1, descending=True).values, wanted)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == count for row in columns.tolist())


def test_aggregation_by_hand():
    prob = torch.tensor([0.9, 0.4]).view(2, 1)
    odds = torch.tensor([(0.1 * 0.6) / (1 - 0.1 * 0.6), 0.9 / 0.1, 0.4 / 0.6])
    torch.testing.assert_close(aggregate(prob)[:, 0], odds / odds.sum())
    torch.testing.assert_close(aggregate_logits(prob, 0)[:, 0], odds.log())


def test_saturated_probabilities_stay_finite():
    logits = aggregate_logits(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 0)
    assert logits.abs().max().item() == pytest.approx(16.118096, abs=1e-5)
    assert logits.max().item() == pytest.approx(15.942385, abs=1e-6)
    joint = aggregate(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(joint.sum(0), torch.ones(2))
    assert joint.argmax(0).tolist() == [1, 0]


def test_aggregation_is_done_in_float32():
    assert aggregate(torch.rand(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
