"""The recipe `lm`: a language model from scratch. Everything here but this page is loaded in an Attempt's own process only."""
