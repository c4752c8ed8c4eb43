"""Random tables of ratings."""

import numpy as np

from services.annotation.agreement.ratings import MISSING, Ratings


def random_ratings(seed: int, readers: int | None = None, missing: bool = True) -> Ratings:
    """Return a small random table; sometimes with much agreement, rare categories, missing readings or one unit."""
    random = np.random.default_rng(seed)
    units, categories = int(random.integers(1, 15)), int(random.integers(2, 6))
    readers = int(random.integers(2, 6)) if readers is None else readers
    shares = random.dirichlet(np.full(categories, random.choice([0.2, 1.0, 5.0])))
    truth = random.choice(categories, (units, 1), p=shares)
    guesses = random.choice(categories, (units, readers), p=shares)
    codes = np.where(random.random((units, readers)) < random.random(), truth, guesses)
    if missing:
        codes[random.random((units, readers)) < random.choice([0.0, 0.3, 0.7])] = MISSING
    return Ratings.of(codes, categories)
