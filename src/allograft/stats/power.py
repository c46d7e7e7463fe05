"""How many units a study would need: what to say when no difference was found."""

from __future__ import annotations

import math

from scipy import special

__all__ = ["power_of", "units_needed"]

POWER = 0.8
LARGEST = 1_000_000


def power_of(n: int, sd: float, difference: float, *, level: float = 0.95) -> float:
    """Return the chance that a two-sided paired t test over n units finds a true `difference`.

    Args:
        n: units, >= 2.
        sd: standard deviation of the paired differences, > 0.
        difference: true mean difference.
        level: 1 minus the test's significance level.
    """
    cut = float(special.stdtrit(n - 1, (1 + level) / 2))
    shift = abs(difference) / sd * math.sqrt(n)
    return float(1 - special.nctdtr(n - 1, shift, cut) + special.nctdtr(n - 1, shift, -cut))


def units_needed(sd: float, difference: float, *, power: float = POWER, level: float = 0.95) -> int | None:
    """Return the smallest n >= 2 whose paired t test finds `difference` with chance `power`.

    Args:
        sd: standard deviation of the paired differences over units, >= 0.
        difference: smallest difference that matters (the margin), not 0.
        power: wanted chance, 0.8 by default (a habit of the field).
        level: 1 minus the test's significance level.

    Returns:
        The number of units, or None where it exceeds a million or an argument is not a number.

    >>> units_needed(1.0, 0.5)
    34
    """
    if not (math.isfinite(sd) and math.isfinite(difference)) or difference == 0:
        return None
    if sd == 0:
        return 2
    # Normal theory is a lower bound that is exact for large n; the t test needs a few more.
    z = float(special.ndtri((1 + level) / 2) + special.ndtri(power))
    n = max(2, math.floor((z * sd / difference) ** 2) if abs(difference) / sd > 1e-6 else LARGEST + 1)
    while n <= LARGEST:
        # Above 1000 units t and normal agree to a unit or so, and the non-central t is slow there.
        if n > 1000 or power_of(n, sd, difference, level=level) >= power:
            return n + 2 if n > 1000 else n
        n += 1
    return None
