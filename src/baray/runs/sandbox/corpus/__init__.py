"""Attempts to get out, run inside the sandbox: standard library only, for the sandbox shows them this folder and no other.

Each is a function `probe(facts) -> str`: what it reached, an empty text if nothing. `facts` tell of the traps that were
set outside (`baray.runs.sandbox.survey`). Every probe is harmless where it succeeds: it opens and does not write, sends
signal 0, asks the kernel with arguments that no call can accept. So the same corpus can be run without any sandbox.

Covered: what a program can do by files, processes, the network, and calls. Not covered: a hole in the kernel itself.
"""
