"""The main job, narrated: from a folder to a counter."""
