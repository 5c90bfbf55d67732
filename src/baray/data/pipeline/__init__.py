"""Recipe `text`: Documents are read, judged, deduplicated and written."""
