"""Models from elsewhere: what a folder in the Hugging Face layout may hold, and the Model version made of it."""
