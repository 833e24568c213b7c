"""catalog-filter: keeps the products of a brand, a price range, a tag."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field

from headrace import Context, Node, Results, Stream
from headrace_nodes import upstream
from headrace_nodes.forms import Amount, DataMetadata, FromUpstream
from headrace_nodes.products import Product


class CatalogFilter(Node):
    """Keeps the products that match every condition that is set"""

    type = "catalog-filter"
    title = "Filter products"
    icon = "filter"
    category = "Catalog"

    class Config(FromUpstream):
        brand: str = Field("", title="Brand", description="Capitals do not matter; empty keeps all brands")
        min_price: Amount = Field(
            Decimal(0),
            json_schema_extra={"default": 0},
            title="Lowest price",
            description="In the product's own currency",
        )
        max_price: Amount = Field(
            Decimal(0), json_schema_extra={"default": 0}, title="Highest price", description="0 is no limit"
        )
        currency: str = Field("", title="Currency", description="Empty keeps all", pattern="^([A-Z]{3})?$")
        tag: str = Field("", title="Tag", description="Keeps products with this tag; capitals do not matter")
        title_contains: str = Field("", title="Title contains", description="Capitals do not matter")
        in_stock: bool = Field(False, title="Only what is in stock")

    class Metadata(DataMetadata):
        dropped: int = Field(title="Products left out", ge=0)

    def configure(self, ctx: Context) -> Stream:
        """The upstream's products."""
        return upstream.stream(ctx, ctx.config.source)

    def execute(self, ctx: Context, record: Product) -> Product | None:
        """The product, or nothing."""
        return record if keeps(ctx.config, record) else None

    def output(self, ctx: Context, results: Results) -> Metadata:
        """Where the kept products lie, and how many were not kept."""
        return self.Metadata(
            uri=results.uri,
            count=results.count,
            failed=results.failed,
            dropped=results.total - results.failed - results.count,
        )


def keeps(config: CatalogFilter.Config, product: Product) -> bool:
    """Whether a product meets every condition that is set."""
    if config.brand and product["brand"].casefold().strip() != config.brand.casefold().strip():
        return False
    if config.currency and product["currency"] != config.currency:
        return False
    if config.min_price and Decimal(product["price"]) < config.min_price:
        return False
    if config.max_price and Decimal(product["price"]) > config.max_price:
        return False
    if config.tag and config.tag.casefold() not in (str(tag).casefold() for tag in product.get("tags", [])):
        return False
    if config.title_contains and config.title_contains.casefold() not in product["title"].casefold():
        return False
    return not config.in_stock or in_stock(product)


def in_stock(product: dict[str, Any]) -> bool:
    """Whether a product, or any variant of it, can be sold; what nobody counts can."""
    if product.get("availability") == "out_of_stock":
        return False
    counted = [entry["inventory"] for entry in (product, *product["variants"]) if "inventory" in entry]
    return not counted or any(count > 0 for count in counted)


if __name__ == "__main__":
    CatalogFilter.main()
