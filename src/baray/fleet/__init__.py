"""Machines: which Nodes there are, and what each may hold at most.

Owns: the Node and its clearance, which control assigns and a worker's own word can only lower.
Does not own: what a worker says of its machine and what it is leased (`runs`), who may ask (`access`).
"""

from baray.fleet.nodes import Node, admit, assign, in_force, node_named, nodes

__all__ = ["Node", "admit", "assign", "in_force", "node_named", "nodes"]
