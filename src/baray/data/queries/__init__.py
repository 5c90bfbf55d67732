"""What control asks of Dataset versions in processes of their own: rows to look at, and SQL."""
