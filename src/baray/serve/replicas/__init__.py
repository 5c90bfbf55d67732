"""Replicas of Services: what should be there, what is there, and what is done about the difference.

Observe (sockets, outside any transaction) -> decide (a pure function) -> apply (one transaction). Rows, Runs and sockets
hold all the truth: a control that was killed looks at them and goes on.
"""
