"""The recipe `text-classifier`: how letters are read and split, features, fitting, scoring, and the files of its Model."""
