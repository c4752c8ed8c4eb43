"""The published tables in full precision: what the literature rounds, computed with exact fractions from the tables."""

import pytest

from services.annotation.agreement.cohen import cohen_kappa
from services.annotation.agreement.fleiss import fleiss_kappa
from services.annotation.agreement.gwet import gwet_ac
from services.annotation.agreement.krippendorff import krippendorff_alpha
from services.annotation.agreement.percent import percent_agreement
from services.annotation.agreement.ratings import Ratings
from tests.unit.annotation.agreement import published, slow

TABLES = {name: table for name, table in vars(published).items() if isinstance(table, Ratings)}


@pytest.mark.parametrize("name", TABLES)
def test_full_precision(name: str) -> None:
    """All statistics of each table equal the exact ones within 1e-12."""
    ratings = TABLES[name]
    found = {
        "percent": (percent_agreement(ratings), slow.percent(ratings)),
        "fleiss": (fleiss_kappa(ratings), slow.fleiss(ratings)),
        "nominal": (krippendorff_alpha(ratings), slow.krippendorff(ratings)),
        "ordinal": (krippendorff_alpha(ratings, "ordinal"), slow.krippendorff(ratings, "ordinal")),
        "interval": (krippendorff_alpha(ratings, "interval"), slow.krippendorff(ratings, "interval")),
        "ac1": (gwet_ac(ratings), slow.gwet(ratings)),
        "ac2": (gwet_ac(ratings, "ordinal"), slow.gwet(ratings, "ordinal")),
    }
    if ratings.readers == 2:
        found["cohen"] = (cohen_kappa(ratings), slow.cohen(ratings))
        found["quadratic"] = (cohen_kappa(ratings, "quadratic"), slow.cohen(ratings, "quadratic"))
    for statistic, (ours, exact) in found.items():
        assert ours.value() == pytest.approx(exact, abs=1e-12), statistic
