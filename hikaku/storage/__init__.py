"""How evaluations are kept: tables, and one file of queries per noun.

Every query is a function of a `Session`; the caller owns the transaction.
"""
