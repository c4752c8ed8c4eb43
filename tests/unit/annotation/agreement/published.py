"""Tables from the literature with the values that it prints, and where each was seen."""

import numpy as np

from services.annotation.agreement.ratings import MISSING, Ratings


def ratings_of_table(table: list[list[int]]) -> Ratings:
    """Return two readers' ratings from their contingency table: rows are the first reader's categories."""
    counts = np.array(table)
    cells = np.repeat(np.arange(counts.size), counts.ravel())
    return Ratings.of(np.column_stack(np.divmod(cells, len(counts))), len(counts))


def ratings_of_counts(counts: list[list[int]]) -> Ratings:
    """Return ratings from the number of readers who gave each unit each category; which reader is which is lost."""
    rows = [np.repeat(np.arange(len(row)), row) for row in counts]
    codes = np.full((len(rows), max(map(len, rows))), MISSING)
    for place, row in enumerate(rows):
        codes[place, : len(row)] = row
    return Ratings.of(codes, len(counts[0]))


def ratings_from_one(rows: list[list[int]], categories: int) -> Ratings:
    """Return ratings whose codes are printed from 1 on, with 0 for a missing one."""
    return Ratings.of(np.array(rows) - 1, categories)


FLEISS_1971 = ratings_from_one(
    [
        [4, 4, 4, 4, 4, 4], [2, 2, 2, 5, 5, 5], [2, 3, 3, 3, 3, 5], [5, 5, 5, 5, 5, 5], [2, 2, 2, 4, 4, 4],
        [1, 1, 3, 3, 3, 3], [3, 3, 3, 3, 5, 5], [1, 1, 3, 3, 3, 4], [1, 1, 4, 4, 4, 4], [5, 5, 5, 5, 5, 5],
        [1, 4, 4, 4, 4, 4], [1, 2, 4, 4, 4, 4], [2, 2, 2, 3, 3, 3], [1, 4, 4, 4, 4, 4], [2, 2, 4, 4, 4, 5],
        [3, 3, 3, 3, 3, 5], [1, 1, 1, 4, 5, 5], [1, 1, 1, 1, 1, 2], [2, 2, 4, 4, 4, 4], [1, 3, 3, 5, 5, 5],
        [5, 5, 5, 5, 5, 5], [2, 4, 4, 4, 4, 4], [2, 2, 4, 5, 5, 5], [1, 1, 4, 4, 4, 4], [1, 4, 4, 4, 4, 5],
        [2, 2, 2, 2, 2, 4], [1, 1, 1, 1, 5, 5], [2, 2, 4, 4, 4, 4], [1, 3, 3, 3, 3, 3], [5, 5, 5, 5, 5, 5],
    ],
    5,
)  # fmt: skip
"""Fleiss 1971: 30 patients, 6 psychiatrists, 5 diagnoses; kappa 0.430. R's irr (kappam.fleiss, in the tests of
statsmodels): 0.4302445."""

FLEISS_FOURTEEN = ratings_of_counts(
    [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]
)  # fmt: skip
"""The example of 14 readers and 10 units that encyclopedias print (in the tests of statsmodels); kappa 0.210."""

KRIPPENDORFF = ratings_from_one(
    [
        [1, 1, 0, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4],
        [1, 1, 2, 1], [2, 2, 2, 2], [0, 5, 5, 5], [0, 0, 1, 1], [0, 0, 3, 0],
    ],
    5,
)  # fmt: skip
"""Krippendorff 2011 (Computing Krippendorff's alpha-reliability), C: 4 observers, 12 units, missing values; nominal
0.743, ordinal 0.815, interval 0.849. Gwet (2014, page 120) uses the same table; his package irrCAC prints percent
0.8181818, AC1 0.77544, Fleiss 0.76117, alpha 0.74342."""

GWET_SIX = ratings_of_counts(
    [
        [0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0],
        [2, 0, 4, 0, 0], [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6],
        [1, 0, 0, 5, 0], [1, 1, 0, 4, 0], [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1],
    ]
)  # fmt: skip
"""irrCAC, distrib.6raters: AC1 0.4448007, Fleiss 0.4139265, alpha 0.4204384."""

ABSTRACTORS = ratings_of_table([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
"""Gwet 2014, irrCAC cont3x3abstractors: Cohen 0.7964094, AC1 0.8493305, alpha 0.7972585, percent 0.89; AC2 linear
0.900, ordinal 0.925, quadratic 0.940."""

PARADOX = ratings_of_table([[118, 5], [2, 0]])
"""Gwet 2002, 125 subjects: the kappa paradox. 94.4% agree, kappa is -0.0234, AC1 0.9408."""

FIVE_OBSERVERS = Ratings.of(
    [
        [1, 1, 2, -1, 2], [1, 1, 0, 1, -1], [2, 3, 3, 3, -1], [-1, 0, 0, -1, 0], [0, 0, 0, -1, 0],
        [0, 0, 0, -1, 0], [1, 0, 2, -1, 1], [1, -1, 2, 0, -1], [2, 2, 2, -1, 2], [2, 1, 1, 1, -1],
        [-1, 1, 0, 0, -1], [0, 0, 0, 0, -1], [1, 2, 2, 2, -1], [3, 3, 2, 2, 3], [1, 1, 1, -1, 1],
    ],
    4,
)  # fmt: skip
"""Gwet 2014, page 125, irrCAC cac.raw5obser: percent 0.616, AC1 0.497."""

COHEN_1960 = ratings_of_table([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
"""Cohen 1960, 200 patients as proportions: 70% agree, 41% by chance, kappa 0.29 / 0.59, printed as 0.492."""

SAS = ratings_of_table([[0, 4, 1], [0, 8, 0], [0, 1, 5]])
"""An example of SAS, in the tests of statsmodels: kappa 0.4842, weighted (linear) 0.4701."""

VISION = np.array([[1520, 266, 124, 66], [234, 1512, 432, 78], [117, 362, 1772, 205], [36, 82, 179, 492]])
"""Stuart 1955: unaided vision of the right and left eyes of 7,477 women. Stuart-Maxwell 11.96 and Bowker 19.11."""
