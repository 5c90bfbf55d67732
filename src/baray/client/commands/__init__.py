"""The commands of `baray`, a module a noun; `catalogue` says which there are."""
