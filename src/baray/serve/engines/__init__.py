"""Engines that generate text, and the Replica that serves one of them on a unix socket.

Reached by dotted name only, in an Attempt's own process: what lies here may load torch, gguf and llama.cpp.
"""
