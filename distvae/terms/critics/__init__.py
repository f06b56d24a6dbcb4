"""Networks that learn to tell images from what a model draws, and that it learns to please."""
