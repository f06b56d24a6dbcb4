"""From a name or a path to batches of images: sources, decoded store, order of examples."""
