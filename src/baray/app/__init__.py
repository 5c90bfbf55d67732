"""Wiring: the only room that reads settings, chooses adapters and starts processes.

Owns: settings, the home's layout, the process tree of `baray up`, the entry points of control, router and worker, doctor.
Does not own: anything that a room does; it only puts rooms together.
"""
