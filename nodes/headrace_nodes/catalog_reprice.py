"""catalog-reprice: changes every price by a percentage, exactly, and rounds it as its currency is paid."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from pydantic import Field, field_validator

from headrace import Context, Node, Results, Stream
from headrace_nodes import money, upstream
from headrace_nodes.forms import DataMetadata, FromUpstream, Percent
from headrace_nodes.products import Product, mark_changed


class CatalogReprice(Node):
    """Changes the prices of products and their variants by a percentage, in exact decimal arithmetic"""

    type = "catalog-reprice"
    title = "Re-price"
    icon = "percent"
    category = "Catalog"

    class Config(FromUpstream):
        percent: Percent = Field(
            Decimal(0),
            json_schema_extra={"default": 0},
            title="Change in percent",
            description="5 raises a price by five percent, -10 lowers it",
        )
        rounding: str = Field(
            "",
            title="Round to",
            description="A step such as 0.05; empty: the currency's smallest amount. Halves go up",
            pattern=r"^([0-9]{0,9}(\.[0-9]{1,4})?)$",
        )
        ends_with: str = Field(
            "",
            title="Ends with",
            description="The nearest price that ends so: .99, 9. Not where a currency has no such decimals",
            pattern=r"^([0-9]{0,9}(\.[0-9]{1,4})?)$",
        )

        @field_validator("rounding", "ends_with")
        @classmethod
        def _amount(cls, value: str) -> str:
            money.parse_step(value)
            return value

    class Metadata(DataMetadata):
        pass

    def configure(self, ctx: Context) -> Stream:
        """The products of the map's item, or of the upstream."""
        return upstream.stream(ctx, ctx.config.source)

    def execute(self, ctx: Context, record: Product) -> Product:
        """The product at its new price."""
        return reprice(record, ctx.config)

    def output(self, ctx: Context, results: Results) -> Metadata:
        """Where the re-priced products lie."""
        return self.Metadata(uri=results.uri, count=results.count, failed=results.failed)


def reprice(product: Product, config: CatalogReprice.Config) -> Product:
    """The product with new prices, its variants' too; what it cost before, crossed out, stays as it was."""
    currency = product["currency"]
    product["price"] = new_price(product["price"], currency, config)
    changed = ["price"]
    if product["variants"]:
        for variant in product["variants"]:
            if "price" in variant:
                variant["price"] = new_price(variant["price"], currency, config)
        changed.append("variants")
    mark_changed(product, *changed)
    return product


def new_price(text: str, currency: str, config: CatalogReprice.Config) -> str:
    """A price changed, rounded and given its ending; decimal text in and out."""
    return _new_price(text, currency, config.percent, config.rounding, config.ends_with)


@lru_cache(maxsize=4096)
def _new_price(text: str, currency: str, percent: Decimal, rounding: str, ending: str) -> str:
    amount, currency = money.parse(text, currency)
    changed = money.change(amount, percent)
    rounded = money.round_to(changed, currency, money.parse_step(rounding))
    return money.write(money.end_with(rounded, currency, money.parse_step(ending)), currency)


if __name__ == "__main__":
    CatalogReprice.main()
