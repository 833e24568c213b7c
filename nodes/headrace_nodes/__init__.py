"""Headrace's stock node types: catalogs read, filtered, split, re-priced, watermarked, merged and published.

One module per node type; `python -m headrace_nodes.NAME` runs it as a node run. What the nodes share
(products, money, file formats) is pure and lives beside them.
"""
