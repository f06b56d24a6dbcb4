"""From a name or a path to batches of images: sources, the decoded store, and the order of examples."""
