"""Money: exact decimal text, rounded as its currency is paid."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_nodes import money

CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "KWD", "CLF"])
PERCENT = st.decimals(-100, 1000, places=3)


@st.composite
def amounts(draw: st.DrawFn) -> tuple[Decimal, str]:
    """An amount that its currency can express."""
    currency = draw(CURRENCIES)
    return Decimal(draw(st.integers(0, 10**14))).scaleb(-money.decimals(currency)), currency


@given(amounts())
def test_what_is_written_is_read_back_as_the_same_amount(amount: tuple[Decimal, str]):
    value, currency = amount
    assert money.parse(money.write(value, currency), currency) == (value, currency)


@given(amounts(), PERCENT)
def test_a_changed_price_is_off_the_exact_one_by_at_most_half_a_unit(
    amount: tuple[Decimal, str], percent: Decimal
):
    value, currency = amount
    exact = value * (100 + percent) / 100
    assert (
        abs(money.round_to(money.change(value, percent), currency, None) - exact) <= money.unit(currency) / 2
    )


@given(amounts(), amounts(), PERCENT)
def test_a_dearer_product_stays_at_least_as_dear(
    one: tuple[Decimal, str], two: tuple[Decimal, str], percent: Decimal
):
    low, high = sorted([one[0], two[0]])
    change = [money.round_to(money.change(value, percent), "EUR", None) for value in (low, high)]
    assert change[0] <= change[1]


@given(st.integers(1, 10**12), st.sampled_from([".99", ".95", ".5", "9", "9.99", "90"]))
def test_an_ending_is_reached_by_the_nearest_such_price(cents: int, ending: str):
    amount = Decimal(cents).scaleb(-2)
    step = Decimal(ending)
    period = Decimal(10 ** len(str(int(step)))) if step >= 1 else Decimal(1)
    found = money.end_with(amount, "EUR", step)
    assert (found - step) % period == 0
    assert found > 0
    assert abs(found - amount) <= period / 2 or found - period <= 0


@given(amounts())
def test_no_change_changes_nothing(amount: tuple[Decimal, str]):
    value, currency = amount
    assert money.round_to(money.change(value, Decimal(0)), currency, None) == value


def test_a_price_may_name_its_currency():
    assert money.parse("19.99 EUR", "USD") == (Decimal("19.99"), "EUR")
    assert money.parse("JPY 3900", "USD") == (Decimal(3900), "JPY")


@pytest.mark.parametrize(
    "text", ["", "free", "1,99", "1.234,50", "-3", "1e9", "NaN", "٣", "EUR 5 USD", "9" * 16]
)
def test_what_is_no_clear_price_is_never_guessed(text: str):
    with pytest.raises(money.MoneyError):
        money.parse(text, "EUR")


def test_yen_have_no_decimals_and_dinars_have_three():
    assert money.write(Decimal(390), "JPY") == "390"
    assert money.write(Decimal("1.5"), "KWD") == "1.500"
    with pytest.raises(money.MoneyError):
        money.write(Decimal("1.5"), "JPY")


def test_halves_go_up():
    assert money.round_to(Decimal("0.125"), "EUR", None) == Decimal("0.13")


def test_a_step_rounds_to_what_can_be_paid_in_coins():
    assert money.round_to(Decimal("7.43"), "CHF", Decimal("0.05")) == Decimal("7.45")


def test_a_step_that_cannot_be_paid_is_refused():
    with pytest.raises(money.MoneyError):
        money.round_to(Decimal(1), "EUR", Decimal("0.025"))


def test_yen_have_no_99_and_keep_their_price():
    assert money.end_with(Decimal(4095), "JPY", Decimal(".99")) == Decimal(4095)


def test_what_is_free_stays_free():
    assert money.end_with(Decimal("0.00"), "EUR", Decimal(".99")) == 0
