"""Statistics of the tables."""

import pandas as pd


def sample_std(values: pd.Series) -> float:
    """Return the sample standard deviation (n - 1); 0 for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
