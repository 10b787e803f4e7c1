"""What an agent observes: features, lists of them, and the encoders that are generated from a list."""
