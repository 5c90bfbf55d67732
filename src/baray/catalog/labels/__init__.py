"""Labels that change: raised with all that follows, or lowered by two people.

Owns: raises, requests to lower, approvals and their keys. A version's own label never changes: a raise is a row beside
it, a lowering is another version of the same bytes.
"""
