"""*Load model…* where a model's files do not say all: what is asked, whether it fits, a trial, and the folder that is made of it."""
