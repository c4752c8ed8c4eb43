"""Agreement among readers: statistics, bootstrap intervals, tests and planning, computed from arrays.

docs/agreement.md has the formulas, the sources, and the conventions for missing and undefined values.
"""
