"""The page and the API that show which features and scores moved since the model was trained."""
