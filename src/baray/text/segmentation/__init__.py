"""Words of Khmer, which is written without spaces: units, the model of a lexicon, the cheapest reading, learning."""
