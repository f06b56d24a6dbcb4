"""The training loop: engine (what a step is made of), loop, console and trackers."""
