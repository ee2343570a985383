"""Training: data in, a published and promoted bundle out."""
