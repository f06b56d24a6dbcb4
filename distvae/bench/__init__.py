"""What this machine does: speed of training and of sampling, each variant in its own process."""
