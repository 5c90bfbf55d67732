"""The compiled pass: loaded by dotted name, in an Attempt's own process, when a filter or a signature is wanted."""
