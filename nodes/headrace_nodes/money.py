"""Money as decimal text and a currency: exact, never a binary float.

An amount is read from text such as "19.99", "19.99 EUR" or "EUR 19.99"; it is written with as many decimals
as its currency has (ISO 4217: EUR 2, JPY 0, KWD 3).
"""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Final

_AMOUNT = re.compile(
    r"(?:(?P<before>[A-Z]{3})\s*)?(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,8})?)(?:\s*(?P<after>[A-Z]{3}))?"
)
_STEP = re.compile(r"[0-9]{0,9}(\.[0-9]{1,4})?")

# fmt: off (ISO 4217's currencies that do not have two decimals, in rows)
_DECIMALS: Final[dict[str, int]] = {
    "BIF": 0,
    "CLP": 0,
    "DJF": 0,
    "GNF": 0,
    "ISK": 0,
    "JPY": 0,
    "KMF": 0,
    "KRW": 0,
    "PYG": 0,
    "RWF": 0,
    "UGX": 0,
    "UYI": 0,
    "VND": 0,
    "VUV": 0,
    "XAF": 0,
    "XOF": 0,
    "XPF": 0,
    "BHD": 3,
    "IQD": 3,
    "JOD": 3,
    "KWD": 3,
    "LYD": 3,
    "OMR": 3,
    "TND": 3,
    "CLF": 4,
    "UYW": 4,
}
# fmt: on

CONTEXT = Context(prec=60, rounding=ROUND_HALF_UP)
"""Wide enough that no price and no change of it is ever rounded by accident; halves go up, as on an invoice.
"""


class MoneyError(ValueError):
    """A text is not an amount of money, or not one that its currency can express."""


def decimals(currency: str) -> int:
    """How many decimals amounts of `currency` have (ISO 4217's exponent; 2 where the code is not listed)."""
    return _DECIMALS.get(currency, 2)


@lru_cache(maxsize=256)
def unit(currency: str) -> Decimal:
    """The smallest amount of `currency`: 0.01 for EUR, 1 for JPY."""
    return Decimal(1).scaleb(-decimals(currency))


def parse(text: str, currency: str) -> tuple[Decimal, str]:
    """The amount and the currency of `text`; a currency inside the text wins over `currency`.

    Raises MoneyError for anything but plain digits with a decimal point: a thousands separator, a decimal
    comma or a sign is ambiguous or no price, and never guessed at.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise MoneyError(f"{text[:40]!r} is not a price such as 19.99 or 19.99 EUR")
    before, after = match["before"], match["after"]
    if before and after and before != after:
        raise MoneyError(f"{text[:40]!r} names two currencies")
    return Decimal(match["amount"]), before or after or currency


def write(amount: Decimal, currency: str) -> str:
    """`amount` with exactly the decimals of `currency`. Raises MoneyError where that changes the amount."""
    exact = CONTEXT.quantize(amount, unit(currency))
    if exact != amount:
        raise MoneyError(f"{amount} has more decimals than {currency} has")
    return f"{exact:f}"


def change(amount: Decimal, percent: Decimal) -> Decimal:
    """`amount` changed by `percent` (5 is five percent more, -10 is ten percent less), not rounded yet."""
    return CONTEXT.multiply(amount, CONTEXT.divide(CONTEXT.add(Decimal(100), percent), Decimal(100)))


def parse_step(text: str) -> Decimal | None:
    """A rounding step or a price ending from a configuration: "0.05", ".99", "9"; None for an empty text."""
    if not text:
        return None
    if not _STEP.fullmatch(text) or text == ".":
        raise MoneyError(f"{text[:20]!r} is not an amount such as 0.05 or .99")
    return Decimal(text)


def round_to(amount: Decimal, currency: str, step: Decimal | None) -> Decimal:
    """`amount` rounded, halves up, to a multiple of `step`; never finer than its currency."""
    smallest = unit(currency)
    if step is None or step <= smallest:
        return CONTEXT.quantize(amount, smallest)
    if step % smallest:
        raise MoneyError(f"a step of {step} cannot be paid in {currency}")
    steps = CONTEXT.quantize(CONTEXT.divide(amount, step), Decimal(1))
    return CONTEXT.quantize(CONTEXT.multiply(steps, step), smallest)


def end_with(amount: Decimal, currency: str, ending: Decimal | None) -> Decimal:
    """The price nearest to `amount` that ends like `ending` (".99": 18.99, 19.99; "9": 9, 19, 29); up when
    halfway.

    A free product stays free, and a currency without such decimals keeps its price: JPY has no .99.
    """
    if ending is None or not amount or ending % unit(currency):
        return amount
    whole = int(ending)
    period = Decimal(10) ** len(str(whole)) if whole else Decimal(1)
    below = CONTEXT.to_integral_value(CONTEXT.divide(amount - ending, period).to_integral_value(ROUND_FLOOR))
    low = below * period + ending
    high = low + period
    nearest = high if high - amount <= amount - low else low
    return CONTEXT.quantize(nearest if nearest > 0 else high, unit(currency))
