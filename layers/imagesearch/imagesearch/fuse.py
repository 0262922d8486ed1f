"""Several rankings of the same images into one, where their scores can't be compared: reciprocal rank fusion."""

from collections.abc import Iterable, Sequence

RANK_CONSTANT = 60
"""How far down a ranking its voice carries: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet
and individual Rank Learning Methods" (SIGIR 2009)."""


def reciprocal_rank_fusion(rankings: Iterable[Sequence[str]], k: int = RANK_CONSTANT) -> list[tuple[str, float]]:
    """The ids of all `rankings`, each of which is best first, with their fused scores, best first.

    The score of an id is the sum of 1 / (k + rank) over the rankings that it is in, ranks starting at 1. Of equal
    scores the one comes first that is in the earlier ranking.

    ```
    reciprocal_rank_fusion([["a", "b"], ["b", "c"]])  # b, then a, then c
    ```
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, id in enumerate(dict.fromkeys(ranking), start=1):
            scores[id] = scores.get(id, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda scored: -scored[1])  # stable: ids came in the order of the rankings
