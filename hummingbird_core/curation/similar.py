"""Choices by embeddings: near-duplicates in meaning, and a balanced choice over clusters."""

from __future__ import annotations

import numpy as np

from .copies import Reasons

BLOCK = 512  # rows compared at once: 20,000 others take 40 MB
CLUSTER_STEPS = 50  # of k-means, at most
SEED = 0  # of the first centers


def drop_similar(
    ids: list[str], order: list[int], vectors: np.ndarray, limit: float, reasons: Reasons
) -> None:
    """Add a reason to each clip that shows the same as a better one.

    Args:
        ids: of all clips.
        order: rows of the clips that pass all rules, best first.
        vectors: unit vectors `[N, D]`, NaN for a clip without one, which stays.
        limit: cosine from which two clips count as the same.
        reasons: of each row; extended in place.
    """
    rows = _usable(order, vectors, reasons)
    for copy, original in similar_pairs(vectors[rows], limit).items():
        text = f"shows the same as {ids[rows[original]]}"
        reasons[rows[copy]].append(("similar", text))


def similar_pairs(vectors: np.ndarray, limit: float) -> dict[int, int]:
    """Return for each vector that is close to an earlier kept one the index of the closest.

    Args:
        vectors: unit vectors `[N, D]`, best first.
        limit: cosine from which two are close.
    """
    is_kept = np.zeros(len(vectors), dtype=bool)
    copies: dict[int, int] = {}
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ vectors[: start + BLOCK].T  # [BLOCK, seen]
        for row, values in enumerate(cosines, start=start):
            close = np.flatnonzero(is_kept[:row] & (values[:row] >= limit))
            if len(close):
                copies[row] = int(close[values[close].argmax()])
            else:
                is_kept[row] = True
    return copies


def drop_surplus(
    order: list[int], vectors: np.ndarray, most: int, clusters: int | None, reasons: Reasons
) -> None:
    """Add a reason to clips of large clusters until `most` are left, as evenly as possible.

    Args:
        order: rows of the clips that pass all rules, best first.
        vectors: unit vectors `[N, D]`, NaN for a clip without one; those are one more cluster.
        most: number of clips to keep.
        clusters: number of clusters; None takes the square root of the number of clips.
        reasons: of each row; extended in place.
    """
    passed = [row for row in order if not reasons[row]]
    rows = _usable(order, vectors, reasons)
    count = clusters or max(1, round(np.sqrt(len(rows))))
    labels = dict(zip(rows, k_means(vectors[rows], count).tolist(), strict=True))
    members: dict[int, list[int]] = {}
    for row in passed:
        members.setdefault(labels.get(row, -1), []).append(row)
    shares = even_shares([len(rows) for rows in members.values()], most)
    for share, (label, rows) in zip(shares, members.items(), strict=True):
        for row in rows[share:]:
            text = f"{share} better clips of cluster {label} are kept already"
            reasons[row].append(("balance", text))


def even_shares(sizes: list[int], most: int) -> list[int]:
    """Return how many of each cluster stay: equally many, or all where there are fewer.

    Args:
        sizes: of the clusters.
        most: sum of the shares, unless there are fewer clips; the first clusters get what is left
            over.
    """
    shares = [0] * len(sizes)
    left = min(most, sum(sizes))
    while left:
        hungry = [n for n, size in enumerate(sizes) if shares[n] < size]
        each = max(1, left // len(hungry))
        for n in hungry:
            more = min(each, sizes[n] - shares[n], left)
            shares[n] += more
            left -= more
    return shares


def k_means(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the cluster of each unit vector by spherical k-means, int `[N]`.

    Centers are unit vectors, and the closest has the highest cosine (Dhillon and Modha, 2001,
    "Concept Decompositions for Large Sparse Text Data Using Clustering"); the first ones are drawn
    as in k-means++ (Arthur and Vassilvitskii, 2007).

    Args:
        vectors: `[N, D]`.
        count: number of clusters, at most one for each vector.
    """
    labels = np.zeros(len(vectors), dtype=np.int64)
    if len(vectors) == 0:
        return labels
    centers = _first_centers(vectors, min(count, len(vectors)))
    for step in range(CLUSTER_STEPS):
        before, labels = labels, (vectors @ centers.T).argmax(axis=1)
        if step and (before == labels).all():
            break
        sums = np.zeros_like(centers)
        np.add.at(sums, labels, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centers = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centers)
    return labels


def _first_centers(vectors: np.ndarray, count: int) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    chosen = [int(rng.integers(len(vectors)))]
    distances = np.full(len(vectors), np.inf)
    for _ in range(count - 1):
        distances = np.minimum(distances, (1 - vectors @ vectors[chosen[-1]]).clip(min=0))
        total = distances.sum()
        if total <= 0:  # fewer different vectors than clusters
            break
        chosen.append(int(rng.choice(len(vectors), p=distances / total)))
    return vectors[chosen].copy()


def _usable(order: list[int], vectors: np.ndarray, reasons: Reasons) -> list[int]:
    has_vector = ~np.isnan(vectors).any(axis=1)
    return [row for row in order if has_vector[row] and not reasons[row]]
