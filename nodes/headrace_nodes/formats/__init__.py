"""File formats of catalogs, read and written as streams. Pure: bytes in, records out; nothing here opens a
file.

A reader yields *raw* records (bytes of a line, a row, the rows of one product) and never fails for one bad
record: the node's execute turns a raw record into a product, so that a bad one lands in the ledger of failed
records.
"""
